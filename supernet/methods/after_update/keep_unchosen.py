"""What did not run stays as it was: weight decay and momentum do not move unchosen paths (SPOS, ProxylessNAS).

w <- w_before,  buffer <- buffer_before      where the step left the weight without a gradient, or with one of zeros

Where a path is drawn on the host, unchosen operations have no gradient and the optimiser passes them by. Inside a graph
they run behind a gate and have gradients of zero, to which weight decay and momentum still apply; the authors' code
sets them to None, which a graph cannot.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..parts import AFTER_UPDATES, AfterUpdate
from ..problem import Problem

__all__ = ["KeepUnchosen"]


@AFTER_UPDATES.register("keep_unchosen")
class KeepUnchosen(AfterUpdate):
    """Costs a copy of the weights and of their momenta a step."""

    def __init__(self) -> None:
        super().__init__()
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def before(self, problem: Problem) -> None:
        """Keeps weights and buffers, of any shapes, and which of them have a gradient that is not zero."""
        self._before = []
        for w, buffer in zip(problem.weights, _buffers(problem), strict=True):
            if w.grad is None:
                continue
            moves = w.grad.any()
            self._before.append((w, w.clone(), moves))
            if buffer is not None:
                self._before.append((buffer, buffer.clone(), moves))

    @torch.no_grad()
    def forward(self, problem: Problem) -> None:
        """Puts back what has had no gradient."""
        for tensor, value, moves in self._before:
            tensor.copy_(torch.where(moves, tensor, value))
        self._before = []


def _buffers(problem: Problem) -> Sequence[Tensor | None]:
    return problem.momentum_buffers or [None] * len(problem.weights)
