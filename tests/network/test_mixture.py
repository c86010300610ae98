"""Mixtures: masks on the device against masks on the host, what is pruned, other executors for a moment."""
# B batch, C channels, H height, W width, E edges, O operations

import copy
import logging
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.cuda_kernels import host
from supernet.errors import SupernetError
from supernet.network import EXECUTORS, HostMask, Mixture, Supernet
from supernet.network.cells.cell import MixedCell
from supernet.network.executor import fused
from supernet.runtime.host_reads import HostReads
from supernet.space import Genotype, Space, get_space
from supernet.space.choice import Choice
from tests.support.covering import covering

HERE = [name for name in EXECUTORS if name != "cuda"]  # that serve tensors on the processor


def conv(kernel: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(4))


class Own(nn.Module):
    """Two choices, one of them nested in an option of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        inner = nn.Sequential(conv(1), Choice({"k3": conv(3), "k5": conv(5)}, share="inner"))
        self.op = Choice({"skip": nn.Identity(), "k3": conv(3), "deep": inner}, share="op")
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(self.stem(x)).mean((2, 3)))


# Network -> space and arguments; the executor is the test's.
NETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "darts": ("darts", {"channels": 2, "layers": 3}),
    "partial": ("darts", {"channels": 4, "layers": 2, "partial": 2}),
    "checkpoint": ("darts", {"channels": 2, "layers": 2, "checkpoint": True}),
    "s1": ("s1", {"channels": 2, "layers": 3}),
    "nasbench201": ("nasbench201", {"channels": 2, "cells_per_stage": 1}),
    "darts_rnn": ("darts_rnn", {"hidden": 3, "num_classes": 5}),
    "own": (Own, {}),
}


def supernet(name: str, executor: str = "torch", dtype: torch.dtype = torch.float64) -> Supernet:
    """A small supernet with alphas that are not uniform."""
    space, arguments = NETS[name]
    net = Supernet(Space(space) if space is Own else get_space(space), executor=executor, seed=0, **arguments)
    generator = torch.Generator().manual_seed(0)
    for alpha in net.alphas():
        alpha.data.copy_(torch.randn(alpha.shape, generator=generator))
    return net.to(dtype)


def inputs(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if name == "darts_rnn":
        return torch.randint(5, (3, 4), generator=generator)
    return torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64).to(dtype)


def some(net: Supernet, each: float = 0.4, seed: int = 2) -> dict[str, HostMask]:
    """Masks that leave every row one option or more."""
    generator, masks = torch.Generator().manual_seed(seed), {}
    for name, mask in net.masks().items():
        drawn = torch.rand(len(mask), len(mask[0]), generator=generator).masked_fill(~torch.tensor(mask), 2)
        runs = (drawn < each) | (drawn == drawn.amin(-1, keepdim=True))
        masks[name] = tuple(map(tuple, runs.tolist()))
    return masks


def on_device(masks: dict[str, HostMask], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {name: torch.tensor(mask, dtype=dtype) for name, mask in masks.items()}


def results(net: Supernet, x: Tensor, mixture: Mixture) -> dict[str, Tensor]:
    """Output, all gradients (zeros for None) and the running statistics afterwards."""
    net = copy.deepcopy(net)
    leaves = tuple(p.detach().clone().requires_grad_() for p in mixture.p)
    y = net(x, mixture._replace(p=leaves))
    wanted = {f"p{i}": leaf for i, leaf in enumerate(leaves)} | dict(net.body.named_parameters())
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(y.dtype)
    grads = torch.autograd.grad(y, list(wanted.values()), cotangent, allow_unused=True)
    filled = {k: torch.zeros_like(t) if g is None else g for (k, t), g in zip(wanted.items(), grads, strict=True)}
    return {"output": y.detach()} | filled | {f"buffer {k}": b for k, b in net.body.named_buffers()}


@pytest.mark.parametrize(**covering(name=NETS, executor=[*HERE, "auto"], training=[True, False]))
def test_a_mask_on_the_device_gives_what_one_on_the_host_gives(name: str, executor: str, training: bool) -> None:
    """Outputs, gradients of every p and every weight, running statistics."""
    net, x = supernet(name, executor).train(training), inputs(name)
    masks = some(net)
    there, here = results(net, x, net.mixture(gates=on_device(masks))), results(net, x, net.mixture(gates=masks))
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=1e-9, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(**covering(name=NETS, executor=[*HERE, "auto"]))
def test_nothing_waits_for_a_mask_on_the_device(name: str, executor: str) -> None:
    """In the second pass: in the first one indices are brought to the device."""
    dtype = torch.float32 if executor == "auto" else torch.float64
    if executor == "auto" and not host.available():
        pytest.skip("no C++ compiler here")
    net, x = supernet(name, executor, dtype), inputs(name, dtype)
    gates = on_device(some(net), dtype)
    net(x, net.mixture(gates=gates)).square().sum().backward()
    other = {name: gate.roll(1, -1) for name, gate in gates.items()}
    with HostReads(torch.device("cpu"), forbid=True):
        net(x, net.mixture(gates=other)).square().sum().backward()


def test_gates_by_table_reach_each_of_its_sites() -> None:
    net = supernet("darts")
    gate = torch.ones(14, 8)
    mixture = net.mixture(gates={"normal": gate})
    assert net.sites == ("normal", "reduce", "reduce")
    for site, mask in zip(net.sites, mixture.mask, strict=True):
        assert (mask is gate) == (site == "normal")
    for site, p in zip(net.sites, mixture.p, strict=True):
        assert torch.equal(p, net.mixing()[site])


def test_a_decision_without_alphas_may_be_left_out_of_p() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = Choice({"one": nn.Linear(3, 3), "two": nn.Linear(3, 3, bias=False)}, share="a")
            self.b = Choice(
                {"one": nn.Linear(3, 3), "none": nn.Identity()}, share="b", mark="searchable", default="none"
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    net, x = Supernet(Space(Net), seed=0), torch.randn(2, 3)
    assert torch.equal(net(x, net.mixture({"a": net.mixing()["a"]})), net(x))


@pytest.mark.parametrize("name", ["darts", "s1", "nasbench201", "darts_rnn", "own"])
def test_what_is_pruned_stays_so(name: str) -> None:
    """No weight, no gradient, not in the genotype; the state dict keeps it, and an older one has none of it."""
    net, x = supernet(name), inputs(name)
    before = copy.deepcopy(net.state_dict())
    assert not [key for key in before if "pruned" in key or key.startswith("options")]
    masks = some(net, 0.6)
    net.prune({name: mask for name, mask in masks.items() if name in net.alpha})
    assert net.masks() == masks
    for table in net.space.tables:
        left = torch.tensor(masks[table.name])
        p = net.mixing()[table.name]
        assert not p[~left].any() and (p[left] > 0).all()
        torch.testing.assert_close(p.sum(-1), torch.ones(len(p), dtype=p.dtype))
        assert torch.equal(torch.tensor(net.strengths()[table.name]) > 0, left)
    net(x).square().sum().backward()
    for table in net.space.tables:
        grad = net.alpha[table.name].grad
        # None: the decision stands inside an option that was pruned.
        assert grad is None or not grad[~torch.tensor(masks[table.name])].any()

    again = supernet(name)
    again.load_state_dict(copy.deepcopy(net.state_dict()))
    assert again.masks() == masks and torch.equal(again(x), net(x))
    again.load_state_dict(before)
    assert again.masks() == supernet(name).masks() and again.state_dict().keys() == before.keys()


@pytest.mark.parametrize("name", ["darts", "nasbench201", "own"])
def test_a_pruned_option_is_never_chosen(name: str) -> None:
    """Not even where its alpha is the largest, and the weights of all others are rounded to 0."""
    net = supernet(name)
    masks = {table: mask for table, mask in some(net, 0.5).items() if table in net.alpha}
    net.prune(masks)
    for table, alpha in net.alpha.items():
        left = torch.tensor(masks[table])
        alpha.data.masked_fill_(~left, 1e4)
        alpha.data[:, 1:] = torch.where(left[:, 1:], alpha.data[:, 1:] - 2e3, alpha.data[:, 1:])
    for table, places in net.space.active(net.genotype()).items():
        assert all(masks[table][row][column] for row, column in places)


def test_pruning_again_takes_away_more() -> None:
    net = supernet("nasbench201")
    keep = [[True] * 5 for _ in range(6)]
    keep[0][1] = False
    net.prune({"cell": keep})  # type: ignore[dict-item]  # lists do as well
    keep[0][1], keep[2][3] = True, False
    net.prune({"cell": keep})  # type: ignore[dict-item]
    lost = [(e, o) for e, row in enumerate(net.masks()["cell"]) for o, runs in enumerate(row) if not runs]
    assert lost == [(0, 1), (2, 3)]


def test_pruning_is_refused_where_nothing_would_be_left() -> None:
    net = supernet("darts")
    mask = [[True] * 8 for _ in range(14)]
    with pytest.raises(SupernetError, match=r"row '0-3' of table 'normal' would be left without any option"):
        net.prune({"normal": [*mask[:2], [False] * 8, *mask[3:]]})  # type: ignore[dict-item]
    only_none = [[True] + [False] * 7] * 2
    with pytest.raises(SupernetError, match="too few options left for any architecture"):
        net.prune({"normal": [*only_none, *mask[2:]]})  # type: ignore[dict-item]  # the first node takes both edges
    with pytest.raises(SupernetError, match="did you mean 'normal'"):
        net.prune({"norma": mask})  # type: ignore[dict-item]
    with pytest.raises(SupernetError, match=r"must have the shape \(14, 8\)"):
        net.prune({"normal": mask[1:]})  # type: ignore[dict-item]
    assert net.masks() == supernet("darts").masks()


def test_another_executor_for_a_moment(caplog: pytest.LogCaptureFixture) -> None:
    net, x = supernet("darts", "cpu"), inputs("darts")
    own = net.body.executor
    with net.executing("torch"):
        assert net.body.executor is not None and net.body.executor.name == "torch"
        (slope,) = torch.autograd.grad(net(x).square().sum(), net.weights()[0], create_graph=True)
        torch.autograd.grad(slope.square().sum(), net.alphas()[0])
    assert net.body.executor is own
    with pytest.raises(SupernetError, match="did you mean 'torch'"), net.executing("torhc"):
        pass
    with pytest.raises(ZeroDivisionError), net.executing("reference"):
        raise ZeroDivisionError
    assert net.body.executor is own
    net.use("reference")
    assert net.body.executor is not None and net.body.executor.name == "reference"


def test_another_executor_for_modules_sums_plainly_inside() -> None:
    net, x = supernet("own", "cpu"), inputs("own")
    fused = [choice.add for choice in net.body._summed]
    with net.executing("torch"):
        (slope,) = torch.autograd.grad(net(x).square().sum(), net.weights()[0], create_graph=True)
        torch.autograd.grad(slope.square().sum(), net.alphas()[0])
    assert [choice.add for choice in net.body._summed] == fused
    (slope,) = torch.autograd.grad(net(x).square().sum(), net.weights()[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()
    with pytest.raises(SupernetError, match="unknown executor"), net.executing("gpu"):
        pass


def test_parameters_of_an_option() -> None:
    net = supernet("darts")
    cells = [module for module in net.body.modules() if isinstance(module, MixedCell)]
    assert net.parameters_of(1, 3, 4) == list(cells[1].edges[3][4].parameters()) != []
    assert net.parameters_of(0, 0, 0) == []  # `none` has no weights
    with pytest.raises(SupernetError, match="no operation in column 8 on row 0 of site 0"):
        net.parameters_of(0, 0, 8)
    s1 = supernet("s1")
    table = s1.space.tables[0]
    column = table.mask[0].index(False)
    with pytest.raises(SupernetError, match=f"no operation in column {column} on row 0"):
        s1.parameters_of(0, 0, column)
    own = supernet("own")
    deep = own.sites.index("op")
    assert len(own.parameters_of(deep, 0, 0)) == 0 and len(own.parameters_of(deep, 0, 1)) == 3
    assert supernet("darts_rnn").parameters_of(0, 0, 1) == []  # activations have none


def test_the_relaxation_sees_its_table_and_is_no_part_of_the_state() -> None:
    class Sharp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("tau", torch.tensor(0.5))
            self.tables: list[str] = []

        def forward(self, alpha: Tensor, table: Any) -> Tensor:
            self.tables.append(table.name)
            return torch.softmax(alpha / self.tau, -1)

    net = supernet("darts")
    keys, sharp = list(net.state_dict()), Sharp()
    net.relaxation = sharp
    net.mixing()
    assert sharp.tables == ["normal", "reduce"] and list(net.state_dict()) == keys


def test_auto_says_what_it_then_uses(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each announcement is followed by passes of that executor."""
    ran: list[str] = []
    for name in ("torch", "cpu"):
        kind: Any = EXECUTORS[name]

        def noted(self: Any, *args: Any, kind: Any = kind, call: Any = kind.__call__) -> Tensor:
            ran.append(kind.name)
            return call(self, *args)

        monkeypatch.setattr(kind, "__call__", noted)
    with caplog.at_level(logging.INFO, logger="supernet"):
        for dtype in (torch.float32, torch.float64):
            net = supernet("nasbench201", "auto", dtype)
            for hooked in (False, True):
                net.connect([lambda edge, x, outputs: outputs] if hooked else [])
                ran.clear(), caplog.clear()
                net(inputs("nasbench201", dtype))
                (message,) = caplog.messages
                assert {message.split("'")[1]} == set(ran)


def test_activating_goes_before_what_is_masked() -> None:
    net = supernet("nasbench201")
    genotype: Genotype = net.genotype()
    net.activate(genotype)
    assert [sum(row) for row in net.masks()["cell"]] == [1] * 6
    assert list(net.mixture().mask) == [net.masks()["cell"]] * 3
    net.deactivate()
    assert net.masks() == {"cell": ((True,) * 5,) * 6}


def test_importing_a_supernet_leaves_the_compiler_alone() -> None:
    """Half of the import's processor time would go into it."""
    code = (
        "import sys; from supernet import Supernet, get_space\n"
        "net = Supernet(get_space('darts'), channels=2, layers=2, seed=0)\n"
        "assert not {'torch._dynamo', 'timm', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_compiled_supernet_leaves_its_executor_as_it_is() -> None:
    """`torch.compile` of what calls it: no tracing into the executor, and the same numbers."""
    net, x = supernet("nasbench201", "cpu").eval(), inputs("nasbench201")
    y = net(x)
    torch._dynamo.reset()
    traced: list[bool] = []
    original = fused._Cell.forward
    try:
        fused._Cell.forward = staticmethod(  # type: ignore[method-assign,assignment]
            lambda *a: (traced.append(torch.compiler.is_compiling()), original(*a))[1]
        )
        with torch.no_grad():
            torch.testing.assert_close(torch.compile(net, backend="eager")(x), y)
    finally:
        fused._Cell.forward = original  # type: ignore[method-assign]
    assert traced and not any(traced)
