"""The search's optimisers: torch's updates to rounding, in few calls, with a state that is loaded where it lies."""

from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.config import AlphaConfig, WeightConfig
from supernet.methods.optimizers import adam, load_into, set_lr, sgd
from tests.support.searches import same

SHAPES = [(4, 3, 3, 3), (4, 1, 3, 3), (6, 4, 1, 1), (5,), (2, 3)]
WEIGHTS = WeightConfig(lr=0.1, momentum=0.9, weight_decay=0.01)


def parameters(dtype: torch.dtype, last: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]
    if last:
        made = [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in made]
    return [t.requires_grad_() for t in made]


def steps(optimizer: torch.optim.Optimizer, count: int, first: int = 0, without: int | None = None) -> None:
    """Steps on gradients that depend on the number of the step; parameter `without` has none in the first one."""
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        for i, p in enumerate(optimizer.param_groups[0]["params"]):
            slope = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            p.grad = None if number == 0 and i == without else torch.empty_like(p).copy_(slope)
        set_lr(optimizer, 0.1 / (1 + number))
        optimizer.step()


def plain(kind: str, some: list[Tensor]) -> torch.optim.Optimizer:
    """torch's own, one parameter at a time."""
    if kind == "sgd":
        return torch.optim.SGD(some, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False, fused=False)
    return torch.optim.Adam(some, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=False, fused=False)


def ours(kind: str, some: list[Tensor]) -> torch.optim.Optimizer:
    return sgd(some, WEIGHTS) if kind == "sgd" else adam(some, AlphaConfig())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_updates_are_torchs_to_rounding(kind: str, dtype: torch.dtype, last: bool) -> None:
    one, other = parameters(dtype, last), parameters(dtype, False)
    made = ours(kind, one)
    assert made.defaults["fused"]
    steps(made, 4, without=2)
    steps(plain(kind, other), 4, without=2)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-7)


@pytest.mark.parametrize("from_torch", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_state_is_taken_over_into_the_tensors_that_are_there(kind: str, from_torch: bool) -> None:
    """Also one that torch's plain optimiser saved, whose momentum of parameter 2 is not there yet."""
    source = parameters(torch.float32, False)
    saved = (plain if from_torch else ours)(kind, source)
    steps(saved, 1, without=2)
    some = [p.detach().clone().requires_grad_() for p in source]
    target = ours(kind, some)
    steps(target, 3)
    before = {i: {k: v.data_ptr() for k, v in one.items()} for i, one in target.state_dict()["state"].items()}
    with torch.no_grad():
        torch._foreach_copy_(some, source)
    load_into(target, saved.state_dict())
    assert before == {i: {k: v.data_ptr() for k, v in one.items()} for i, one in target.state_dict()["state"].items()}
    steps(target, 2, first=1)
    steps(saved, 2, first=1)
    for mine, theirs in zip(some, source, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_a_state_is_taken_over_before_there_is_one() -> None:
    source = parameters(torch.float32, False)
    saved = ours("adam", source)
    steps(saved, 2)
    some = [p.detach().clone().requires_grad_() for p in source]
    target = ours("adam", some)
    load_into(target, saved.state_dict())
    for one in (saved, target):
        steps(one, 2, first=2)
    same([p.detach() for p in some], [p.detach() for p in source])


def test_the_learning_rate_is_filled_in_its_place() -> None:
    optimizer: Any = ours("sgd", parameters(torch.float32, False))
    lr = optimizer.param_groups[0]["lr"]
    set_lr(optimizer, 0.0375)
    assert optimizer.param_groups[0]["lr"] is lr and float(lr) == 0.0375
    odd = sgd([torch.ones(3, dtype=torch.complex64, requires_grad=True)], WEIGHTS)
    set_lr(odd, 0.5)
    assert odd.param_groups[0]["lr"] == 0.5 and not odd.defaults["fused"]
