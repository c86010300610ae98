"""Checkpointed cells: the same bits as without, buffers that advance once, draws that are repeated."""

import pytest
import torch
from torch import Tensor, nn

from supernet.config import MethodConfig
from supernet.cuda_kernels import host
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.network.cells.checkpointing import checkpointed
from supernet.network.discrete import build
from supernet.space import get_space, published
from supernet.space.cells import CellSpace
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from tests.support.covering import covering

SMALL = {
    "darts": (
        {"nodes": 2, "operations": ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]},
        {"channels": 4, "layers": 3},
    ),
    "nasbench201": ({}, {"channels": 4, "cells_per_stage": 1}),
    "s4": ({}, {"channels": 2, "layers": 2}),  # its noise draws numbers
}


def after_steps(
    space: str, executor: str, checkpoint: bool, *, dtype: torch.dtype, method: str = "first_order"
) -> dict[str, Tensor]:
    """The state after two steps on fixed batches."""
    arguments, network = SMALL[space]
    found = get_space(space, **arguments)
    assert isinstance(found, CellSpace)
    net = Supernet(found, executor=executor, seed=0, checkpoint=checkpoint, **network).to(dtype)
    step = BilevelStep(net, ImageClassification(10), method=MethodConfig(hypergradient=method))
    torch.manual_seed(1)
    batches = [(torch.randn(4, 3, 8, 8, dtype=dtype), torch.randint(10, (4,))) for _ in range(4)]
    step(batches[0], batches[1], 0)
    step(batches[2], batches[3], 0)
    return dict(net.state_dict())


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize(
    **covering(space=SMALL, executor=["reference", "torch", "cpu"], dtype=[torch.float32, torch.float64]), ids=str
)
def test_a_checkpointed_search_has_the_same_bits(space: str, executor: str, dtype: torch.dtype) -> None:
    if executor == "cpu" and not host.available():
        pytest.skip("no C++ compiler here")
    plain, again = (after_steps(space, executor, on, dtype=dtype) for on in (False, True))
    same_bits(plain, again)
    counts = {int(value) for name, value in again.items() if name.endswith("num_batches_tracked")}
    assert counts == {2}  # once a step: neither the alphas' half nor the second run counts


@pytest.mark.parametrize(
    ("method", "executor"), [("finite_difference", "torch"), ("finite_difference", "cpu"), ("exact", "torch")]
)
def test_second_order_too(method: str, executor: str) -> None:
    if executor == "cpu" and not host.available():
        pytest.skip("no C++ compiler here")
    states = [after_steps("darts", executor, on, dtype=torch.float64, method=method) for on in (False, True)]
    same_bits(*states)


def test_an_exact_hypergradient_takes_an_executor_that_has_it() -> None:
    states = [after_steps("darts", "cpu", on, dtype=torch.float64, method="exact") for on in (False, True)]
    same_bits(*states)


class Counting(nn.Module):
    """A layer of a user's own: it draws numbers, and it counts its calls and multiplies by the count."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        self.calls += 1
        return (x * torch.rand_like(x) * self.calls).sin()


def test_a_layer_of_ones_own_repeats_its_draws_and_finds_its_buffers_as_they_were() -> None:
    x = torch.randn(5, dtype=torch.float64)
    found = []
    for on in (False, True):
        layer, leaf = Counting(), x.clone().requires_grad_()
        torch.manual_seed(3)
        y = checkpointed(layer, layer, leaf) if on else layer(leaf)
        drawn = torch.rand(2)
        (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
        assert (float(layer.calls), layer.runs) == (1, 1 + on)
        found.append((y.detach(), gradient, drawn, torch.rand(2)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_nothing_runs_twice_where_no_backward_follows() -> None:
    layer = Counting()
    with torch.no_grad():
        checkpointed(layer, layer, torch.ones(2, requires_grad=True))
    checkpointed(layer.eval(), layer, torch.ones(2, requires_grad=True)).sum().backward()
    assert layer.runs == 2


def test_discrete_networks_take_the_switch_and_keep_their_state() -> None:
    genotype, found = published("DARTS_V2"), []
    x = torch.randn(4, 3, 8, 8)
    for on in (False, True):
        net = build(genotype, seed=0, channels=4, layers=2, drop_path_rate=0.5, checkpoint=on)
        torch.manual_seed(5)
        net(x).square().sum().backward()
        gradients = {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
        found.append(dict(net.state_dict()) | gradients)
    same_bits(*found)


def test_random_layers_cannot_be_repeated_in_a_captured_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(SupernetError, match="network.checkpoint=true: this cell has random layers"):
        checkpointed(nn.Dropout(), nn.Dropout(), x)
    still = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    checkpointed(still, still, x).sum().backward()  # nothing here asks the generators for their state
