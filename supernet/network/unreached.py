"""Whether the output of a network depends on its input at all, found by running it: for networks of which no rule says.

Two signs must agree, since each alone can be wrong of a network that could learn. Samples that enter one by one give
the same output, to the bit: that is also so where the last layer begins at zero. And the output has no gradient with
respect to its input, with weights that are moved off their present values: that is also so behind a rounding.
"""
# B batch

import copy

import torch
from torch import Tensor, nn

from .seeding import seeded

__all__ = ["WHY", "constant", "unreached"]

MOVED = 0.1  # how far weights are moved, as a share of their root mean square; of zeros, by so much itself
WHY = "the network's output is the same for every input"


@torch.no_grad()
def constant(net: nn.Module, x: Tensor) -> bool:
    """Whether each sample of `x` [B, ...] alone gives the same output, in evaluation mode."""
    training = net.training
    net.eval()
    try:
        outputs = [_alone(net, sample) for sample in x.split(1)]
    finally:
        net.train(training)
    return all(torch.equal(y, outputs[0]) for y in outputs[1:])


def unreached(net: nn.Module, x: Tensor) -> bool:
    """Whether nothing of an input reaches the output of `net`, judged by samples `x` [B, ...]; `net` stays as it is."""
    if not constant(net, x):
        return False
    moved = _moved(net).eval()
    if not constant(moved, x):
        return False
    if not x.is_floating_point():
        return not bool((x == x[:1]).all())  # else these samples show nothing, and whole numbers have no gradient
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad(), seeded(0):
        y = moved(leaf * 1)  # a network may change its input in place
        if not y.requires_grad:
            return True
        (gradient,) = torch.autograd.grad((y * torch.randn(y.shape).to(y)).sum(), leaf, allow_unused=True)
    return gradient is None or not bool(gradient.any())


def _alone(net: nn.Module, x: Tensor) -> Tensor:
    """The output for one sample; noise is the same for each."""
    with seeded(0):
        y: Tensor = net(x)
    return y


def _moved(net: nn.Module) -> nn.Module:
    """A copy whose weights that learn are moved a little: zeros that a layer begins with are none any more."""
    moved = copy.deepcopy(net)
    with torch.no_grad(), seeded(0):
        for p in moved.parameters():
            if p.requires_grad and p.is_floating_point():
                size = float(p.square().mean().sqrt()) or 1.0
                p.add_(torch.randn(p.shape).to(p), alpha=MOVED * size)
    return moved
