"""The bilevel problem at one step, and the virtual step on the weights that second-order estimates share.

min over a of L_val(w*(a), a)   with   w*(a) = argmin over w of L_tr(w, a)

virtual step of SGD with momentum m, weight decay d and learning rate xi, whose buffer is b:
w'(a) = w - xi * (m b + grad_w L_tr(w, a) + d w)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

__all__ = ["Estimate", "Problem", "batch_norms", "frozen", "frozen_statistics", "gradient"]


@dataclass(frozen=True)
class Problem:
    """Losses as functions of the present parameters, and what the weights' optimiser would do with them.

    `train_loss` and `val_loss` run the network on this step's two batches. `momentum_buffers` has one entry a weight,
    None before its first step, when SGD's buffer is still empty.
    """

    weights: Sequence[Tensor]
    alphas: Sequence[Tensor]
    train_loss: Callable[[], Tensor]
    val_loss: Callable[[], Tensor]
    lr: float | Tensor
    momentum: float = 0.0
    weight_decay: float = 0.0
    momentum_buffers: Sequence[Tensor | None] = field(default_factory=tuple)
    reduce: Callable[[Sequence[Tensor]], None] | None = None  # averages over processes, in place

    def gradient(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """`gradient`, averaged like `loss` over the processes that share a batch: all of them estimate the same."""
        found = gradient(loss, parameters)
        if self.reduce is not None:
            self.reduce([*found, loss.detach()])
        return found

    @torch.no_grad()
    def virtual_weights(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """W' for the training gradients at the present weights."""
        steps = torch._foreach_add(list(gradients), list(self.weights), alpha=self.weight_decay)
        buffers = [(step, b) for step, b in zip(steps, self.momentum_buffers, strict=False) if b is not None]
        if buffers:
            torch._foreach_add_([step for step, _ in buffers], [b for _, b in buffers], alpha=self.momentum)
        torch._foreach_mul_(steps, self.lr)
        return list(torch._foreach_sub(list(self.weights), steps))

    def behind_virtual_step(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """(grad_a L_val(w', a), v = grad_w' L_val(w', a), L_val) at the virtual weights w'."""
        with frozen(self.alphas):
            slope = self.gradient(self.train_loss(), self.weights)
        with self.at(self.virtual_weights(slope)):
            loss = self.val_loss()
            both = self.gradient(loss, [*self.alphas, *self.weights])
        return both[: len(self.alphas)], both[len(self.alphas) :], loss.detach()

    @contextmanager
    def at(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the network has these weights; afterwards its own again, to the bit."""
        with torch.no_grad():
            own = [torch.empty_like(w) for w in self.weights]
            _assign(own, self.weights)
            _assign(self.weights, weights)
        try:
            yield
        finally:
            _assign(self.weights, own)


@dataclass(frozen=True)
class Estimate:
    """dL_val/dalpha = direct + implicit, one tensor a table; `implicit` is None for first-order estimates."""

    direct: list[Tensor]
    implicit: list[Tensor] | None
    val_loss: Tensor

    @property
    def total(self) -> list[Tensor]:
        """The gradient that the alphas' optimiser takes."""
        if self.implicit is None:
            return self.direct
        return [d + i for d, i in zip(self.direct, self.implicit, strict=True)]


def gradient(loss: Tensor, parameters: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """D loss / d parameters, zeros where a parameter takes no part."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True, create_graph=create_graph)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


@contextmanager
def frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Inside, no gradient is computed, and nothing is kept for one, with respect to `parameters`."""
    needed = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, needs in zip(parameters, needed, strict=True):
            p.requires_grad_(needs)


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """The modules of `net` that have running statistics; a supernet has thousands of modules to look through."""
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen_statistics(net: nn.Module, norms: Sequence[nn.Module] | None = None) -> Iterator[None]:
    """Inside, batch norms normalise by the batch but leave their running statistics alone.

    So the statistics that evaluation uses follow the weight steps only, and no virtual step or validation batch leaks
    into them. `norms` is what `batch_norms(net)` has found, where it is known.
    """
    norms = batch_norms(net) if norms is None else norms
    tracked = [m.__dict__["track_running_stats"] for m in norms]
    for m in norms:  # a momentum of 0 would still count the batch, and let its NaN in: 0 * NaN is NaN
        m.__dict__["track_running_stats"] = False  # past torch's own way, which takes 10 times as long
    try:
        yield
    finally:
        for m, tracks in zip(norms, tracked, strict=True):
            m.__dict__["track_running_stats"] = tracks


@torch.no_grad()
def _assign(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(weights), list(values))
