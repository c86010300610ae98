"""Second derivatives of the training loss by differences of gradients, so that every executor serves.

H v       = [grad_w L_train(w + h v) - grad_w L_train(w - h v)] / 2h            h = r / |v|
(dg/da) v = [grad_a L_train(w + h v) - grad_a L_train(w - h v)] / 2h            g = grad_w L_train

The error is of the order r^2 where the loss is smooth; of kinks (ReLU, max pooling) see finite_difference.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..network.freezing import frozen
from .problem import Problem, gradient

__all__ = ["curved", "norm_of", "responded"]


def curved(problem: Problem, v: Sequence[Tensor], r: float) -> list[Tensor]:
    """H v, in the shapes of the weights, as `v` is; averaged over the ranks."""
    with frozen(problem.alphas):
        return _difference(problem, v, r, problem.weights)


def responded(problem: Problem, v: Sequence[Tensor], r: float) -> list[Tensor]:
    """(dg/da)^T v [E, O] a table, for `v` in the shapes of the weights; averaged over the ranks."""
    with frozen(problem.weights):
        return _difference(problem, v, r, problem.alphas)


def norm_of(v: Sequence[Tensor]) -> Tensor:
    """The norm of tensors of any shapes together, a scalar."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(v))))


def _difference(problem: Problem, v: Sequence[Tensor], r: float, by: Sequence[Tensor]) -> list[Tensor]:
    norm = norm_of(v)
    h = r / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            beside = torch._foreach_add(list(problem.weights), torch._foreach_mul(list(v), sign * h))
        with problem.at(beside):
            sides.append(gradient(problem.loss("train"), by))
    difference = [(plus - minus) / (2 * h) for plus, minus in zip(*sides, strict=True)]
    if problem.reduce is not None:
        problem.reduce(difference)
    return difference
