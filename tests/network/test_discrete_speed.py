"""Discrete networks as they are trained: fused separable convolutions, memory format, compiling; what stays plain."""
# B batch, C channels, H height, W width

import copy
import logging
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import DropPath
from torch import Tensor, nn

import supernet
from supernet.cuda_kernels import host
from supernet.errors import SupernetError
from supernet.network import build, training_form
from supernet.network.cells.cell import DiscreteCell
from supernet.network.fused_separable import halves_of, run_fused
from supernet.network.training_form import Fast
from supernet.ops import operation
from supernet.space import get_space
from supernet.space.published import published
from tests.support.counted import Calls

CPU = torch.device("cpu")
SEPARABLE = ["sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5"]
SMALL: dict[str, Any] = {"channels": 4, "layers": 3, "num_classes": 3, "auxiliary": True}
QUIET: dict[str, Any] = {"log": {"progress": False, "tensorboard": False}}


def needs_compiler() -> None:
    if not host.available():
        pytest.skip(host.why_not())


def separable(name: str, stride: int, affine: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    op = operation(name, 6, 6, stride, affine).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in op.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return op.to(dtype)


def results(op: nn.Module, size: tuple[int, int], fused: bool) -> dict[str, Tensor]:
    """Output, all gradients for a random cotangent, and the running statistics afterwards."""
    op, generator = copy.deepcopy(op), torch.Generator().manual_seed(1)
    dtype = next(op.parameters()).dtype
    x = (torch.randn(3, 6, *size, generator=generator, dtype=torch.float64) + 0.3).to(dtype).requires_grad_()
    y = run_fused(op, halves_of(op), x) if fused else op(x)
    y.backward(torch.randn(y.shape, generator=generator, dtype=torch.float64).to(dtype))
    found = {"output": y.detach(), "x": x.grad} | {name: p.grad for name, p in op.named_parameters()}
    return {name: value for name, value in found.items() if value is not None} | dict(op.named_buffers())


@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_a_fused_separable_convolution_equals_its_modules(
    name: str, stride: int, affine: bool, size: tuple[int, int]
) -> None:
    """Output, gradients and running statistics to 1e-10 in float64; each operator is called once."""
    op = separable(name, stride, affine)
    with Calls() as calls:
        fused = results(op, size, fused=True)
    second = {"sep_second": 1, "sep_second_bwd": 1} if name.startswith("sep") else {}
    assert calls.of == {"edge_group": 1, "edge_group_bwd": 1, "node_mix": 1, "node_mix_bwd_reduce": 1} | second
    plain = results(op, size, fused=False)
    assert fused.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(fused[key], value, rtol=1e-10, atol=1e-10, msg=key)


@pytest.mark.parametrize("name", SEPARABLE)
@pytest.mark.parametrize("stride", [1, 2])
def test_float32_is_as_exact_as_the_modules(name: str, stride: int) -> None:
    """At most twice their error against float64, plus 1e-6."""
    needs_compiler()
    exact = results(separable(name, stride, True), (9, 8), fused=False)
    single = separable(name, stride, True, torch.float32)
    fused, plain = (results(single, (9, 8), fused=one) for one in (True, False))
    for key, value in exact.items():
        if value.is_floating_point():
            error, eager = ((found[key].double() - value).norm() / value.norm() for found in (fused, plain))
            assert error <= 2 * eager + 1e-6, key


def test_frozen_weights_get_no_gradient() -> None:
    """And the others the same as ever."""
    op = separable("sep_conv_3x3", 1, True)
    for name, p in op.named_parameters():
        p.requires_grad_(name.startswith("2"))
    fused, plain = results(op, (4, 4), fused=True), results(op, (4, 4), fused=False)
    assert fused.keys() == plain.keys()
    torch.testing.assert_close(fused["2.weight"], plain["2.weight"], rtol=1e-10, atol=1e-10)


def test_evaluation_and_single_pixels_run_as_modules() -> None:
    """Norms that do not take the batch's statistics are not fused, and one pixel has none."""
    op, x = separable("sep_conv_3x3", 1, True), torch.randn(2, 6, 4, 4, dtype=torch.float64)
    op.eval()
    with Calls() as calls:
        torch.testing.assert_close(run_fused(op, halves_of(op), x), op(x), rtol=0, atol=0)
    assert not calls.of
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        run_fused(op.train(), halves_of(op), x[:1, :, :1, :1])


def step(net: nn.Module, fast: Fast, x: Tensor) -> dict[str, Tensor]:
    """Outputs and gradients of one training step, and the buffers after it."""
    torch.manual_seed(0)  # for drop path
    net.zero_grad()
    with fast.training():
        logits, auxiliary = fast(x)
        (logits.square().sum() + auxiliary.square().sum()).backward()
    grads = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return {"logits": logits.detach()} | grads | {name: b.clone() for name, b in net.named_buffers()}


def network(dtype: torch.dtype = torch.float64, name: str = "PDARTS") -> nn.Module:
    return build(published(name), seed=0, drop_path_rate=0.3, **SMALL).to(dtype).train()


def test_a_whole_network_trains_the_same_fused() -> None:
    """Every separable convolution goes through the operators; outputs, gradients and buffers to 1e-10, drop path on."""
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    plain, fused = network(), network()
    expected = step(plain, Fast(plain, CPU, channels_last="off", fused="off"), x)
    with Calls() as calls:
        found = step(fused, Fast(fused, CPU, fused="on"), x)
    count = sum(bool(halves_of(m)) for m in fused.modules())
    assert calls.of["edge_group"] == calls.of["edge_group_bwd"] == count > 10
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-10, msg=key)


def test_a_network_in_float32_is_as_exact_as_the_plain_one() -> None:
    """Logits and gradients together: at most twice its error, plus 1e-6."""
    needs_compiler()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    exact, plain, fused = network(), network(torch.float32), network(torch.float32)
    oracle = step(exact, Fast(exact, CPU, fused="off"), x)
    found = step(fused, Fast(fused, CPU, fused="on"), x.float())
    eager = step(plain, Fast(plain, CPU, channels_last="off", fused="off"), x.float())

    def error(of: dict[str, Tensor]) -> float:
        keys = [key for key, value in oracle.items() if value.is_floating_point()]
        apart = sum(float((of[key].double() - oracle[key]).square().sum()) for key in keys)
        return (apart / sum(float(oracle[key].square().sum()) for key in keys)) ** 0.5

    assert error(found) <= 2 * error(eager) + 1e-6


def test_auto_fuses_large_inputs_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """By the numbers in an operation's input; the log says once how many."""
    needs_compiler()
    x = torch.randn(4, 3, 16, 16)
    for least, some in ((10**9, False), (4 * 4 * 16 * 16, True)):
        monkeypatch.setattr(training_form, "LEAST", least)
        net, caplog_before = network(torch.float32), len(caplog.messages)
        fast = Fast(net, CPU)
        with Calls() as calls, caplog.at_level(logging.INFO, logger="supernet"):
            step(net, fast, x)
            step(net, fast, x)
        total = sum(bool(halves_of(m)) for m in net.modules())
        ran = calls.of["edge_group"] // 2
        assert 0 < ran < total if some else ran == 0
        said = caplog.messages[caplog_before:]
        assert len(said) == 1
        assert (
            f"channels_last (channels_last=auto), separable convolutions fused: {ran} of {total} (fused=auto)"
            in said[0]
        )


def test_auto_without_a_compiler_runs_the_modules_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only fused=on needs one."""
    monkeypatch.setattr(training_form, "LEAST", 1)
    monkeypatch.setattr(host, "why_not", lambda: "there is no compiler; executor=torch needs none")
    net = network(torch.float32)
    with Calls() as calls, caplog.at_level(logging.INFO, logger="supernet"):
        step(net, Fast(net, CPU), torch.randn(2, 3, 8, 8))
    assert not calls.of
    assert "fused: 0 of" in caplog.text and "(there is no compiler) (fused=auto)" in caplog.text
    with pytest.raises(SupernetError, match=r"speed\.fused=on: there is no compiler; use speed\.fused=auto or off"):
        Fast(net, CPU, fused="on")


def test_what_cannot_be_fused_is_refused_by_name() -> None:
    """A network without separable convolutions, and bf16 on the processor."""
    cell = next(iter(get_space("nasbench201").points()))
    with pytest.raises(SupernetError, match=r"fused=on: this network has no separable convolution"):
        Fast(build(cell, channels=4, cells_per_stage=1), CPU, fused="on")
    with pytest.raises(SupernetError, match=r"fused=on: on the processor the kernels do not serve amp=bf16"):
        Fast(network(torch.float32), CPU, fused="on", amp="bf16")


def test_outside_of_training_the_network_is_plain() -> None:
    """Same modules, same state, and an exported program without an operator of ours."""
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fast = Fast(net, CPU, fused="on")
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    step(net, fast, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with Calls() as calls:
        net(x)
    assert not calls.of
    program = torch.export.export(net.eval(), (x,))
    assert "supernet" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), net(x))
    other = copy.deepcopy(net)
    assert torch.equal(other(x), net(x))


def test_an_error_in_a_step_leaves_the_network_plain() -> None:
    """The cells are given back what they ran."""
    net = network()
    fast = Fast(net, CPU, fused="on")
    forms = {cell.run_operation for cell in net.modules() if isinstance(cell, DiscreteCell)}
    with pytest.raises(RuntimeError), fast.training():
        fast(torch.randn(2, 5, 8, 8, dtype=torch.float64))
    assert forms == {cell.run_operation for cell in net.modules() if isinstance(cell, DiscreteCell)}


class Own(nn.Module):
    """A network of one's own that views its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head(y.view(y.shape[0], -1))


def test_channels_last_is_taken_for_cells_only() -> None:
    """Elsewhere on the processor it was not measured; a network that views its maps would not run in it."""
    fast = Fast(Own(), CPU)
    assert not fast.channels_last
    assert fast(torch.randn(2, 3, 4, 4)).shape == (2, 3)
    for wanted, taken in (("auto", True), ("on", True), ("off", False)):
        net = network(torch.float32)
        assert Fast(net, CPU, channels_last=wanted).channels_last is taken
        weight = net.get_parameter("stem.0.weight") if "stem.0.weight" in net.state_dict() else next(net.parameters())
        assert weight.is_contiguous(memory_format=torch.channels_last) is taken


@pytest.mark.long
def test_a_compiled_network_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the state unchanged; with a backend that traces only, since a compiler takes minutes."""
    used: list[nn.Module] = []
    compile_ = torch.compile

    def traced(net: nn.Module) -> Any:
        used.append(net)
        return compile_(net, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    x, plain, net = torch.randn(2, 3, 8, 8, dtype=torch.float64), network(), network()
    for one in (plain, net):
        one.set_drop_path(0.0)
    expected = step(plain, Fast(plain, CPU, fused="off"), x)
    found = step(net, Fast(net, CPU, compiled="on"), x)
    assert used == [net]
    assert net.state_dict().keys() == plain.state_dict().keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-10, msg=key)


@pytest.mark.long
def test_a_compiled_network_is_compiled_once_for_all_drop_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate grows from epoch to epoch; compiled in, it would be compiled anew until torch gives up."""
    compile_, graphs = torch.compile, []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", lambda net: compile_(net, backend=counting))
    net, x = network(torch.float32), torch.randn(4, 3, 8, 8)
    fast, found = Fast(net, CPU, compiled="on"), []
    for rate in (0.0, 0.1, 0.2, 0.3, 0.9):
        net.set_drop_path(rate)
        torch.manual_seed(0)
        with fast.training():
            found.append(fast(x)[0].detach())
    assert len(graphs) == 1
    assert len({y.sum().item() for y in found}) == len(found)
    torch.manual_seed(0)
    net.set_drop_path(0.0)
    torch.testing.assert_close(found[0], net(x)[0].detach())


def test_dropped_paths_keep_their_mean() -> None:
    """As timm's do: a sample is dropped whole, the others are scaled."""
    drop = training_form._Drop(DropPath(0.25), CPU)
    drop.enter()
    torch.manual_seed(0)
    y = drop.module(torch.ones(4000, 2, 3, 3))
    drop.leave()
    assert y.flatten(1).unique(dim=1).shape[1] == 1
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert abs(y.mean().item() - 1) < 0.05
    assert "forward" not in vars(drop.module)


def images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 1, 8, 8), dtype=np.uint8), np.arange(count) % 4


def retrain(**settings: Any) -> Any:
    tiny = {"epochs": 1, "batch_size": 8, "network": {"channels": 4, "layers": 2}, **QUIET}
    return supernet.retrain("PDARTS", images(24), images(8, 1), **tiny, **settings)


def test_retraining_fused_gives_the_same_plain_model(caplog: pytest.LogCaptureFixture) -> None:
    """Through the whole stage; the log says once what was taken, and the operators were called."""
    needs_compiler()
    plain = retrain(speed={"fused": "off", "channels_last": "off"})
    with Calls() as calls, caplog.at_level(logging.INFO, logger="supernet"):
        fused = retrain(speed={"fused": "on"})
    count = sum(bool(halves_of(m)) for m in fused.model.modules())
    assert calls.of["edge_group"] == calls.of["edge_group_bwd"] == 3 * count
    assert sum("(fused=on)" in message for message in caplog.messages) == 1
    assert plain.model.state_dict().keys() == fused.model.state_dict().keys()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(fused.model.state_dict()[name], value, rtol=1e-2, atol=1e-3, msg=name)
    with Calls() as calls:
        fused.model(torch.zeros(2, 1, 8, 8))
    assert not calls.of


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fused": "maybe"}, r"speed\.fused='maybe' must be auto or on or off"),
        ({"compile": "auto"}, r"speed\.compile='auto' must be on or off"),
        ({"cuda": "on"}, r"speed\.cuda"),
    ],
)
def test_other_values_are_refused(settings: dict[str, str], said: str) -> None:
    """Before any data is touched."""
    with pytest.raises(SupernetError, match=said):
        retrain(speed=settings)
