"""The bilevel step against a slow one written out by hand, and what it must not compute."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.config import AlphaConfig, MethodConfig, WeightConfig
from supernet.methods import HYPERGRADIENTS
from supernet.network import Supernet
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep

Batch = tuple[Tensor, Tensor]


def make(executor: str = "reference", dtype: torch.dtype = torch.float64, **settings: Any) -> BilevelStep:
    net = Supernet(get_space("darts", nodes=1), executor=executor, seed=0, channels=2, layers=3, in_chans=1)
    return BilevelStep(net.to(dtype), ImageClassification(10), epochs=4, **settings)


def batches(dtype: torch.dtype = torch.float64) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 6, 1, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(0, 10, (2, 6), generator=generator)
    return (images[0], targets[0]), (images[1], targets[1])


def test_two_steps_equal_those_written_out_by_hand() -> None:
    """Adam on the alphas, then clipped SGD with momentum and weight decay, from the papers' update rules."""
    clip = 0.5  # below the gradient's norm, so that clipping acts
    step = make(weights=WeightConfig(clip=clip, weight_decay=0.1), alphas=AlphaConfig(lr=0.01, weight_decay=0.2))
    net = make().net
    train, val = batches()
    loss = torch.nn.functional.cross_entropy
    first: list[Any] = [torch.zeros_like(a) for a in net.alphas()]
    second: list[Any] = [torch.zeros_like(a) for a in net.alphas()]
    momentum: list[Any] = [torch.zeros_like(w) for w in net.weights()]
    for count in (1, 2):
        epoch = count - 1
        step(train, val, epoch)
        slopes = torch.autograd.grad(loss(net(val[0]), val[1]), net.alphas())
        with torch.no_grad():
            for i, (alpha, slope) in enumerate(zip(net.alphas(), slopes, strict=True)):
                slope = slope + 0.2 * alpha
                first[i] = 0.5 * first[i] + 0.5 * slope
                second[i] = 0.999 * second[i] + 0.001 * slope**2
                corrected = (second[i] / (1 - 0.999**count)).sqrt() + 1e-8
                alpha -= 0.01 * first[i] / (1 - 0.5**count) / corrected
        slopes = torch.autograd.grad(loss(net(train[0]), train[1]), net.weights(), allow_unused=True)
        norm = torch.stack([s.norm() for s in slopes if s is not None]).norm()
        assert norm > clip
        with torch.no_grad():
            for i, (weight, slope) in enumerate(zip(net.weights(), slopes, strict=True)):
                if slope is not None:
                    momentum[i] = 0.9 * momentum[i] + slope * clip / (norm + 1e-6) + 0.1 * weight
                    weight -= step.lr(epoch) * momentum[i]
    for mine, theirs in zip(step.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


class Backwards(TorchDispatchMode):
    """Records, for each backward of a convolution, whether the gradient of its weight was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_gradients: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.weight_gradients.append(bool(args[-1][1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("executor", ["reference", "torch"])
def test_the_alpha_half_computes_no_weight_gradient_and_the_weight_half_no_alpha_gradient(executor: str) -> None:
    step = make(executor, torch.float32)
    train, val = batches(torch.float32)
    with Backwards() as alone:
        step(train, None, 0)
    with Backwards() as both:
        step(train, val, 0)
    assert all(alone.weight_gradients), "the weight half leaves out a gradient"
    assert sum(both.weight_gradients) == len(alone.weight_gradients), "the alpha half computes weight gradients"
    assert len(both.weight_gradients) > len(alone.weight_gradients), "the alpha half was not recorded"
    seen: list[Tensor] = []
    for alpha in step.net.alphas():
        alpha.register_hook(lambda g: seen.append(g))
    step(train, None, 0)
    assert not seen


@pytest.mark.parametrize("name", list(HYPERGRADIENTS))
def test_running_statistics_follow_the_weight_half_only(name: str) -> None:
    train, val = batches()
    found = []
    for batch in (None, val):
        step = make(method=MethodConfig(hypergradient=name), alphas=AlphaConfig(lr=1e-30, weight_decay=0))
        step(train, batch, 0)
        found.append({k: v for k, v in step.net.named_buffers() if "running" in k})
    assert found[0]
    for key in found[0]:
        assert torch.equal(found[0][key], found[1][key]), key


def test_the_learning_rate_is_torchs_cosine() -> None:
    step = make()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.025)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4, eta_min=0.001)
    for epoch in range(4):
        assert step.lr(epoch) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("executor", ["reference", "torch"])
@pytest.mark.parametrize("name", list(HYPERGRADIENTS))
def test_bf16_steps_keep_float32_weights_near_those_of_float32(executor: str, name: str) -> None:
    losses = {}
    for amp in ("off", "bf16"):
        step = make(executor, torch.float32, amp=amp, method=MethodConfig(hypergradient=name))
        train, val = batches(torch.float32)
        sums = step(train, val, 0)
        losses[amp] = step.task.metrics(sums["train"])["loss"]
        assert {p.dtype for p in step.net.parameters()} == {torch.float32}
        assert all(torch.isfinite(p).all() for p in step.net.parameters())
    assert losses["bf16"] != losses["off"], "autocast was not on"
    assert losses["bf16"] == pytest.approx(losses["off"], rel=0.05)


def test_a_state_taken_over_goes_on_alike() -> None:
    train, val = batches()
    one, other = make(), make()
    one(train, val, 0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))  # torch's optimisers keep the tensors they are given
    for step in (one, other):
        step(train, val, 1)
    for mine, theirs in zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
