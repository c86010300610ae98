"""The fused executors: asked for, they are taken or refused; masks on the device; what does not run costs nothing."""
# B batch, C channels, H height, W width, E edges, O operations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet
from supernet.cuda_kernels import host
from supernet.cuda_kernels.node_mix import cpu as node_mix_cpu
from supernet.cuda_kernels.pool_pair import cpu as pool_pair_cpu
from supernet.cuda_kernels.separable import cpu as separable_cpu
from supernet.errors import SupernetError
from supernet.network import Supernet, make_executor
from supernet.network.cells.cell import MixedCell
from supernet.network.executor import cell_backward, cell_forward
from supernet.network.executor.automatic import Auto, choose
from supernet.network.executor.layout import layout_of
from supernet.space import get_space
from tests.network.test_executors import KINDS, Case, case, run
from tests.support.covering import covering

OPERATORS = ("edge_group", "edge_group_bwd", "sep_second", "sep_second_bwd", "pool_pair", "pool_pair_bwd", "node_mix",
             "node_mix_bwd_reduce")  # fmt: skip
FOUND = host.available()
needs_compiler = pytest.mark.skipif(not FOUND, reason="no C++ compiler for the kernels' bodies")


def small(executor: str = "cpu", **arguments: Any) -> Supernet:
    if executor == "cpu" and not FOUND:
        pytest.skip("no C++ compiler for the kernels' bodies")
    sizes = {"channels": 4, "layers": 3, "num_classes": 3}
    return Supernet(get_space("darts"), executor=executor, seed=0, **sizes | arguments)


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the calls of the compiled bodies."""
    calls: Counter[str] = Counter()
    for module in (node_mix_cpu, pool_pair_cpu, separable_cpu):
        for name in set(OPERATORS).intersection(vars(module)):
            monkeypatch.setattr(module, name, _counted(calls, name, getattr(module, name)))
    return calls


def _counted(calls: Counter[str], name: str, body: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        calls[name] += 1
        return body(*args)

    return counted


@needs_compiler
@pytest.mark.parametrize("executor", ["cpu", "auto"])
def test_the_compiled_bodies_run_a_whole_step(bodies: Counter[str], executor: str) -> None:
    """Each of the 3 cells: one group a state that has edges (5), one sum a node (4)."""
    net = small(executor)
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    forward = {"edge_group": 15, "sep_second": 15, "node_mix": 12}
    assert {name: bodies[name] for name in forward} == forward
    assert bodies["node_mix_bwd_reduce"] == 12 and bodies["edge_group_bwd"] == bodies["sep_second_bwd"] == 15
    assert bodies["pool_pair"] == 2 * 15 and bodies["pool_pair_bwd"] == 15  # computed again on the way back


def test_what_cannot_serve_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SupernetError, match="executor=cuda needs tensors on a GPU, not on cpu; use executor=cpu, torch"
    ):
        small("cuda")(torch.randn(2, 3, 8, 8))
    monkeypatch.setattr(host, "available", lambda: False)
    monkeypatch.setattr(host, "why_not", lambda: "no C++ compiler is found; executor=torch needs none")
    with pytest.raises(SupernetError, match=r"executor=cpu: no C\+\+ compiler is found; executor=torch needs none"):
        small("cpu")(torch.randn(2, 3, 8, 8))


def test_auto_says_what_it_takes_and_why(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(host, "available", lambda: False)
    monkeypatch.setattr(host, "why_not", lambda: "no C++ compiler is found")
    with caplog.at_level(logging.INFO, "supernet"):
        small("auto")(torch.randn(2, 3, 8, 8))
    assert [record.getMessage() for record in caplog.records] == [
        "executor=auto takes 'torch': no C++ compiler is found"
    ]
    assert choose(torch.device("cpu"), torch.float64)[0] == "torch"
    monkeypatch.setattr(host, "available", lambda: True)
    assert choose(torch.device("cpu"), torch.float32)[0] == "cpu"
    assert choose(torch.device("cpu"), torch.bfloat16)[0] == "torch"


@pytest.mark.parametrize("fault", [None, "off by 1"])
def test_auto_on_a_gpu_asks_whether_the_kernels_are_right(monkeypatch: pytest.MonkeyPatch, fault: str | None) -> None:
    monkeypatch.setattr("supernet.network.executor.automatic.unproven", lambda device: fault)
    name, why = choose(torch.device("cuda"), torch.bfloat16)
    assert (name, why) == (("cuda", "its kernels serve here") if fault is None else ("torch", fault))


@pytest.mark.parametrize("executor", ["cpu", "cuda", "auto"])
def test_double_backward_takes_another_executor_and_says_so(executor: str, caplog: pytest.LogCaptureFixture) -> None:
    net = small(executor)
    with caplog.at_level(logging.INFO, "supernet"):
        net.require_double_backward("a test")
    assert net.body.executor.name == "torch"
    assert f"a test needs double backward: executor=torch in place of {executor}" in caplog.text


def test_a_second_derivative_is_refused() -> None:
    net = small().double()
    loss = net(torch.randn(2, 3, 8, 8, dtype=torch.float64)).square().sum()
    (slope,) = torch.autograd.grad(loss, net.alpha["normal"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


# Without s4: its noise draws for what is gated too.
@pytest.mark.parametrize(**covering(kind=[kind for kind in KINDS if KINDS[kind] != "s4"], training=[True, False]))
def test_a_mask_on_the_device_equals_one_on_the_host(kind: str, training: bool) -> None:
    """The one-path form: which operations run is read where the kernels run."""
    for seed, keep in ((1, 0.7), (2, 0.3)):
        made = case(kind, seed, keep)
        expected = run("reference", made, training)
        made.mask = torch.tensor(made.mask)  # type: ignore[assignment]
        for key, value in run("cpu", made, training).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-9, msg=f"{key} with {seed=}")


def one_path(made: Case) -> Case:
    """One separable candidate an edge."""
    made.mask = [[column == 4 for column in range(len(row))] for row in made.mask]
    return made


def test_a_candidate_that_is_never_chosen_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One path: the operators are handed its weights alone, the poolings do not run, nothing of the others is kept."""
    handed: list[int] = []

    def counted(inner: Callable[..., Any], at: int) -> Callable[..., Any]:
        def operator(*args: Any) -> Any:
            handed.append(len(args[at]))
            return inner(*args)

        return operator

    monkeypatch.setattr(cell_forward, "edge_group", counted(cell_forward.edge_group, 1))
    monkeypatch.setattr(cell_backward, "edge_group_bwd", counted(cell_backward.edge_group_bwd, 1))
    monkeypatch.setattr(cell_forward, "pool_pair", lambda *_: pytest.fail("a pooling ran"))
    made = one_path(case("normal", 2, size=(5, 5)))
    run("cpu", made)
    assert sorted(handed) == sorted([3, 3, 2, 1] * 2)  # edges that leave the states, forwards and backwards
    all_layouts = layout_of(made.cell, made.mask)
    weights = [op for ops in made.cell.edges for column, op in enumerate(ops) if column == 4]  # type: ignore[arg-type]
    assert len(all_layouts.parameters) == len([p for op in weights for p in op.parameters()])


def test_layouts_follow_the_cell_when_an_operation_is_replaced() -> None:
    made = case("nasbench201", 2, size=(6, 6))
    executor = make_executor("cpu")
    p = torch.softmax(made.alpha, -1)
    before = executor(made.x, made.cell, p, made.mask)
    made.cell.edges[5][3] = nn.Identity()  # type: ignore[index,operator]
    after, expected = (make(made.x, made.cell, p, made.mask) for make in (executor, make_executor("reference")))
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected, rtol=1e-9, atol=1e-9)


def test_two_runs_give_the_same_bits() -> None:
    x, net = torch.randn(2, 3, 9, 8), small()
    found = []
    for _ in range(2):
        again = copy.deepcopy(net)
        again(x).square().sum().backward()
        found.append([p.grad for p in again.parameters() if p.grad is not None])
    assert found[0] and all(map(torch.equal, *found))


def test_a_weight_changed_before_the_backward_is_noticed() -> None:
    net = small()
    loss = net(torch.randn(2, 3, 8, 8)).sum()
    with torch.no_grad():
        net.weights()[40].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_nothing_is_kept_without_gradients() -> None:
    """Evaluation holds no graph of the stock operations either."""
    net, x = small(), torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        first = net(x)
    net.eval()
    with torch.no_grad():
        assert not net(x).requires_grad
    net.train()
    out = net(x)  # what was made under inference_mode must not be used here
    out.sum().backward()
    assert first.shape == out.shape


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # within dynamo
@pytest.mark.long
@pytest.mark.parametrize("executor", ["cpu", "auto"])
def test_compiled_networks_compute_the_same(executor: str) -> None:
    net, x = small(executor), torch.randn(2, 3, 8, 8)
    plain = net(x)
    compiled: Callable[[Tensor], Tensor] = torch.compile(copy.deepcopy(net), backend="eager")
    torch.testing.assert_close(compiled(x), plain, rtol=1e-4, atol=1e-5)


def test_the_choice_is_kept_for_each_type() -> None:
    auto = make_executor("auto")
    assert isinstance(auto, Auto)
    assert auto.chosen(torch.zeros(1)) is auto.chosen(torch.ones(2))
    assert auto.chosen(torch.zeros(1, dtype=torch.float64)).name == "torch"


@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize("kind", ["normal", "reduction"])
def test_a_second_way_back_through_a_kept_graph_is_the_same(kind: str, partial: int) -> None:
    made = case(kind, 2, size=(6, 6))
    cell = MixedCell(get_space("darts", nodes=3), replace(made.cell.plan, channels=4), partial=partial).double()
    x, p = [t.requires_grad_() for t in made.x], torch.softmax(made.alpha, -1).requires_grad_()
    y = make_executor("cpu")(x, cell, p, made.mask).square().sum()
    inputs = [*x, p, *cell.parameters()]
    first = torch.autograd.grad(y, inputs, retain_graph=True, allow_unused=True)
    second = torch.autograd.grad(y, inputs, allow_unused=True)
    for one, other in zip(first, second, strict=True):
        assert (one is None) is (other is None) and (one is None or torch.equal(one, other))


def test_parameters_and_norms_that_were_replaced_are_used() -> None:
    """Loading by assignment replaces every parameter; a converter of norms replaces modules deep inside."""
    net, x = small(), torch.randn(2, 3, 8, 8)
    net(x)
    net.load_state_dict({name: value.clone() for name, value in net.state_dict().items()}, assign=True)
    net(x).square().sum().backward()
    reference = small("torch")
    reference(x).square().sum().backward()
    lacking = [name for name, p in net.named_parameters() if p.grad is None]
    assert lacking == [name for name, p in reference.named_parameters() if p.grad is None]
    op = net.body.cells[0].edges[0][4]  # type: ignore[union-attr,index]
    op[3] = nn.BatchNorm2d(4, affine=False, momentum=1.0)  # type: ignore[operator,index]
    net(x)
    assert op[3].num_batches_tracked == 1  # type: ignore[index,union-attr]


@pytest.mark.parametrize("executor", ["torch", "cpu"])
def test_one_value_a_channel_has_no_statistics(executor: str) -> None:
    made = case("normal", 0, size=(1, 1))
    made.x = [t[:1] for t in made.x]
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        run(executor, made)


def test_the_way_back_knows_what_the_way_there_did() -> None:
    """Evaluation that is switched on in between changes no gradient."""
    made = case("normal", 2, size=(5, 5))  # an even seed: norms with scale and shift
    found = []
    for between in (True, False):
        cell = copy.deepcopy(made.cell)
        y = make_executor("cpu")(made.x, cell, torch.softmax(made.alpha, -1), made.mask)
        cell.train(between)
        found.append(torch.autograd.grad(y.square().sum(), list(cell.parameters()), allow_unused=True))
    for one, other in zip(*found, strict=True):
        assert (one is None) is (other is None) and (one is None or torch.equal(one, other))


def test_nothing_is_held_beside_the_graph_after_the_way_back() -> None:
    """A loss that is still alive must not keep the activations of stock operations."""
    made = case("reduction", 2, size=(6, 6))
    y = make_executor("cpu")([t.requires_grad_() for t in made.x], made.cell, torch.softmax(made.alpha, -1), made.mask)
    node = y.grad_fn
    assert node.record.stock  # type: ignore[union-attr]
    y.sum().backward()
    assert not node.record.stock  # type: ignore[union-attr]


def test_a_search_that_its_executor_cannot_serve_leaves_no_run_folder(own_folder: None) -> None:
    for executor, message in (("cuda", "executor=cuda needs tensors on a GPU"), ("cdua", "'cuda'. Allowed: auto, cpu")):
        with pytest.raises(SupernetError, match=message.replace("'. A", r"'\? A")):
            supernet.search("darts", data={"name": "digits", "limit": 64}, epochs=1, executor=executor, run="runs/r")
        assert not Path("runs").exists()
