"""The fused sum of a Choice's options against the stock sum, alone and in networks of one's own."""
# B batch, C channels, H height, W width, T options

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet
from supernet.cuda_kernels import host
from supernet.network import Supernet, choice_sum, make_executor
from supernet.network.choice_sum import fused_sum
from supernet.space import Space
from supernet.space.choice import weighed_sum
from tests.support.counted import Calls

LAST, PLAIN = torch.channels_last, torch.contiguous_format
Sum = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def options(shape: Sequence[int], count: int, form: torch.memory_format = PLAIN, dtype: Any = torch.float64) -> Any:
    """(p of no dimension each, outputs), all of which need a gradient."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(count, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    outputs = [torch.randn(tuple(shape), generator=generator, dtype=torch.float64) for _ in range(count)]
    return p, [y.to(dtype).contiguous(memory_format=form).requires_grad_() for y in outputs]


def results(add: Sum, p: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """The sum and the gradients of p and of the outputs for a random cotangent."""
    y = add(list(p.unbind()), outputs)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, [p, *outputs], g)]


def cpu_sum() -> Sum:
    return partial(fused_sum, make_executor("cpu"))


@pytest.mark.parametrize("form", [LAST, PLAIN])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (3, 8, 1, 1), (2, 1, 4, 4), (1, 16, 8, 8), (2, 5, 3, 1)])
@pytest.mark.parametrize("count", [2, 5])
def test_equals_the_stock_sum(form: torch.memory_format, shape: tuple[int, ...], count: int) -> None:
    """Values and gradients to 1e-10 in float64, one call of the operator, and the memory format of the outputs."""
    p, outputs = options(shape, count, form)
    with Calls() as calls:
        got = results(cpu_sum(), p, outputs)
    assert calls.of == {"node_mix": 1, "node_mix_bwd_reduce": 1}
    for ours, theirs in zip(got, results(weighed_sum, p, outputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert got[0].is_contiguous(memory_format=form)


@pytest.mark.parametrize("form", [LAST, PLAIN])
def test_float32_is_as_exact_as_the_stock_sum(form: torch.memory_format) -> None:
    """At most twice its error against float64, plus 1e-6, with the compiled bodies where there is a compiler."""
    if not host.available():
        pytest.skip(host.why_not())
    oracle = results(weighed_sum, *options((4, 8, 9, 8), 6))
    single = options((4, 8, 9, 8), 6, form, torch.float32)
    for ours, theirs, exact in zip(results(cpu_sum(), *single), results(weighed_sum, *single), oracle, strict=True):
        error, eager = ((y.double() - exact).norm() / exact.norm() for y in (ours, theirs))
        assert error <= 2 * eager + 1e-6


def test_what_the_operator_does_not_serve_is_summed_by_stock_operations() -> None:
    """Other ranks, mixed types, mixed memory formats, strided outputs, and one output alone."""
    p, maps = options((2, 3, 4, 5), 2)
    cases = [
        options((2, 3, 4), 2)[1],
        [maps[0], maps[1].float()],
        [maps[0], maps[1].contiguous(memory_format=LAST)],
        [y[..., ::2] for y in maps],
        maps[:1],
        [y[:0] for y in maps],
    ]
    for outputs in cases:
        weights = list(p.unbind())[: len(outputs)]
        with Calls() as calls:
            y = cpu_sum()(weights, outputs)
        assert not calls.of
        assert torch.equal(y, weighed_sum(weights, outputs))


def test_outputs_are_kept_only_where_p_learns() -> None:
    """The step of the weights keeps none of them."""
    kept: list[Tensor] = []
    p, outputs = options((2, 3, 4, 4), 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):  # type: ignore[func-returns-value]
        cpu_sum()(list(p.detach().unbind()), outputs)
    assert [x.dim() for x in kept] == [1]


class Block(nn.Module):
    """Two Choice points of maps, the second with a nested one, and a head that views its input."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        kernels = {f"k{k}": partial(nn.Conv2d, 3, channels, k, padding=k // 2) for k in (1, 3, 5)}
        inner = supernet.Choice({"tanh": nn.Tanh, "relu": nn.ReLU})
        self.first = supernet.Choice(kernels)
        self.second = supernet.Choice({"skip": nn.Identity, "inner": inner, "pool": partial(nn.AvgPool2d, 3, 1, 1)})
        self.head = nn.Linear(channels * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return self.head(y.view(y.shape[0], -1))


def gradients(net: Supernet, x: Tensor) -> list[Tensor]:
    y = net(x)
    y.square().sum().backward()
    return [y.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


def test_a_network_of_ones_own_sums_each_choice_in_one_pass() -> None:
    """As many calls as Choice points, and the same numbers as with stock sums."""
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    stock = gradients(Supernet(Space(Block), executor="torch", seed=0).double(), x)
    with Calls() as calls:
        fused = gradients(Supernet(Space(Block), executor="cpu", seed=0).double(), x)
    assert calls.of == {"node_mix": 3, "node_mix_bwd_reduce": 3}
    for ours, theirs in zip(fused, stock, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_log_says_once_how_such_a_network_runs(caplog: pytest.LogCaptureFixture) -> None:
    """With a fused executor only."""
    with caplog.at_level(logging.INFO, logger="supernet"):
        Supernet(Space(Block), executor="torch", seed=0)
        assert "fused pass" not in caplog.text
        Supernet(Space(Block), executor="auto", seed=0)
        assert "summed in one fused pass where that is faster (executor=auto)" in caplog.text
        caplog.clear()
        net = Supernet(Space(Block), executor="cpu", seed=0).double()
        for _ in range(2):
            net(torch.randn(2, 3, 6, 6, dtype=torch.float64))
    said = [message for message in caplog.messages if "fused pass" in message]
    assert len(said) == 1
    assert "runs as modules, with each of its 3 Choice points summed in one fused pass (executor=cpu)" in said[0]


def test_auto_sums_in_one_pass_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor with a compiler: where p learns, and options are large."""
    if not host.available():
        pytest.skip(host.why_not())
    p, outputs = options((2, 3, 4, 5), 2, PLAIN, torch.float32)
    weights, auto, found = list(p.unbind()), partial(fused_sum, make_executor("auto")), []
    for least, given in ((2 * 120, weights), (2 * 120 + 1, weights), (0, list(p.detach().unbind()))):
        monkeypatch.setattr(choice_sum, "LEAST", least)
        with Calls() as calls:
            torch.testing.assert_close(auto(given, outputs), weighed_sum(given, outputs))
        found.append(calls.of["node_mix"])
    assert found == [1, 0, 0]


def test_options_that_are_not_on_do_not_run() -> None:
    """One option that runs is scaled where it is."""
    net = Supernet(Space(Block), executor="cpu", seed=0).double()
    ran: list[str] = []
    for name, module in net.body.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    net.activate(net.space.genotype({"first": "k3", "second": "skip"}))
    with Calls() as calls:
        net(torch.randn(2, 3, 6, 6, dtype=torch.float64))
    assert not calls.of
    assert [name for name in ran if ".options." in name] == ["net.first.options.k3", "net.second.options.skip"]


def test_double_backward_goes_back_to_stock_sums_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Second derivatives equal those of executor=torch."""
    found = []
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for executor in ("torch", "cpu"):
        net = Supernet(Space(Block), executor=executor, seed=0).double()
        with caplog.at_level(logging.INFO, logger="supernet"):
            net.require_double_backward("a test")
        with Calls() as calls:
            weight, alpha = net.weights()[0], net.alphas()[0]
            (slope,) = torch.autograd.grad(net(x).square().sum(), weight, create_graph=True)
            found.append(torch.autograd.grad(slope.square().sum(), alpha)[0])
        assert not calls.of
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
    assert "double backward: the Choice points are summed by stock operations" in caplog.text


def test_a_fused_sum_cannot_be_differentiated_twice() -> None:
    """An error, not wrong numbers."""
    p, outputs = options((2, 3, 4, 4), 2)
    y = cpu_sum()(list(p.unbind()), outputs)
    (slope,) = torch.autograd.grad(y.square().sum(), outputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_plain_network_has_no_fused_sum() -> None:
    """discretize and a copy of the supernet work as before."""
    net = Supernet(Space(Block), executor="cpu", seed=0).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(copy.deepcopy(net)(x), net(x))
    plain, genotype = net.discretize()
    net.activate(genotype)
    torch.testing.assert_close(plain(x), net(x))
    assert not any(isinstance(module, supernet.Choice) for module in plain.modules())
