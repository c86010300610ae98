"""The bilevel problem at one step, and the virtual step on the weights that second-order estimates share.

min over a of L_val(w*(a), a)   with   w*(a) = argmin over w of L_train(w, a)

virtual step of SGD with momentum m, weight decay d and learning rate xi, whose buffer is b:
w'(a) = w - xi * (m b + grad_w L_train(w, a) + d w)

A part sees the network through this alone: `forward` and `loss` on either batch, with the mixture of this half of the
step or with another, and `leaves` for gradients by the mixing weights of each site.
"""
# E edges, O operations, B batch

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..network.freezing import frozen
from ..network.mixture import Mixture

__all__ = ["BatchName", "Estimate", "Problem", "cut_off", "gradient", "moved"]

BatchName = Literal["train", "val"]


@dataclass(frozen=True)
class Problem:
    """Losses as functions of the present parameters, and what the weights' optimiser would do with them.

    `run(batch, mixture)` gives (logits, targets) of this step's training or validation batch, `criterion` their loss.
    `mixture()` is what this half of the step runs, the same at every call. `momentum_buffers` has one entry a weight,
    None before its first step, when SGD's buffer is still empty. Where regularisers of the weights see the problem,
    `value` is the loss, a scalar, that has just been differentiated, and `slopes` its gradient by p [E, O] of each
    site, for those that ask for it.
    """

    weights: Sequence[Tensor]
    alphas: Sequence[Tensor]
    run: Callable[[BatchName, Mixture | None], tuple[Tensor, Tensor]]
    criterion: Callable[[Tensor, Tensor], Tensor]
    lr: float | Tensor
    momentum: float = 0.0
    weight_decay: float = 0.0
    momentum_buffers: Sequence[Tensor | None] = field(default_factory=tuple)
    reduce: Callable[[Sequence[Tensor]], None] | None = None  # averages over processes, in place
    mixture: Callable[[], Mixture] | None = None
    value: Tensor | None = None
    slopes: Sequence[Tensor] | None = None

    def forward(self, batch: BatchName, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        """(logits [B, ...], targets [B, ...]) of a batch, under `mixture` in place of this half's own."""
        return self.run(batch, mixture)

    def loss(self, batch: BatchName, mixture: Mixture | None = None) -> Tensor:
        """The loss of a batch, a scalar with its graph, under `mixture` in place of this half's own."""
        return self.criterion(*self.forward(batch, mixture))

    def leaves(self) -> Mixture:
        """The mixture of this half, with p [E, O] of each site cut off from the alphas and ready for a gradient."""
        if self.mixture is None:
            raise ValueError("this problem was made without a network, and so without a mixture")
        return cut_off(self.mixture())

    def gradient(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """`gradient`, averaged like `loss`, a scalar, over the processes that share a batch: all estimate the same.

        One tensor of its shape a parameter.
        """
        gradients = gradient(loss, parameters)
        if self.reduce is not None:
            self.reduce([*gradients, loss.detach()])
        return gradients

    @torch.no_grad()
    def virtual_weights(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The weights w' after a virtual step, for training gradients in the shapes of the weights."""
        steps = torch._foreach_add(list(gradients), list(self.weights), alpha=self.weight_decay)
        buffers = [(step, b) for step, b in zip(steps, self.momentum_buffers, strict=False) if b is not None]
        if buffers:
            torch._foreach_add_([step for step, _ in buffers], [b for _, b in buffers], alpha=self.momentum)
        torch._foreach_mul_(steps, self.lr)
        return list(torch._foreach_sub(list(self.weights), steps))

    def behind_virtual_step(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """(grad_a L_val(w', a), v = grad_w' L_val(w', a), L_val) at the virtual weights w'.

        In the shapes of the alphas and of the weights; the loss is a scalar.
        """
        with frozen(self.alphas):
            slope = self.gradient(self.loss("train"), self.weights)
        with self.at(self.virtual_weights(slope)):
            loss = self.loss("val")
            both = self.gradient(loss, [*self.alphas, *self.weights])
        return both[: len(self.alphas)], both[len(self.alphas) :], loss.detach()

    def at(self, weights: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Inside, the network has these weights, in the shapes of its own; afterwards its own again, to the bit."""
        return moved(self.weights, weights)


@dataclass(frozen=True)
class Estimate:
    """dL_val/dalpha = direct + implicit, one tensor a table [E, O]; `implicit` is None for first-order estimates."""

    direct: list[Tensor]
    implicit: list[Tensor] | None
    val_loss: Tensor

    @property
    def total(self) -> list[Tensor]:
        """The gradient that the alphas' optimiser takes, [E, O] a table."""
        if self.implicit is None:
            return self.direct
        return [d + i for d, i in zip(self.direct, self.implicit, strict=True)]


def gradient(loss: Tensor, parameters: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradient of `loss`, a scalar, by each parameter, of its shape; zeros where a parameter takes no part.

    All take none where a sampler has drawn nothing but "none" and the like: then the loss is a constant.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    gradients = torch.autograd.grad(loss, list(parameters), allow_unused=True, create_graph=create_graph)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]


def cut_off(mixture: Mixture) -> Mixture:
    """`mixture` with p [E, O] of each site cut off from what it was made of, and ready for a gradient."""
    return mixture._replace(p=tuple(p.detach().requires_grad_() for p in mixture.p))


@contextmanager
def moved(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters have these values, each of the same shape; afterwards their own again, to the bit."""
    with torch.no_grad():
        own = [torch.empty_like(w) for w in parameters]
        _assign(own, parameters)
        _assign(parameters, values)
    try:
        yield
    finally:
        _assign(parameters, own)


@torch.no_grad()
def _assign(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(weights), list(values))
