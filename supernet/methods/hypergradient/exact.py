"""Exact second-order hypergradient of one virtual step, by differentiating twice (DARTS, arXiv:1806.09055, equation 7).

    g      = grad_w L_tr(w, a),   w' = w - xi (m b + g + d w)                virtual step, see problem.py
    v      = grad_w' L_val(w', a)
    result = grad_a L_val(w', a) - xi (dg/da)^T v

Buffer and weight decay do not depend on a, so they move w' but add no term.
"""

from typing import ClassVar

import torch

from ..part import Part
from .problem import Estimate, Problem, frozen, gradient
from .registry import HYPERGRADIENTS

__all__ = ["Exact"]


@HYPERGRADIENTS.register("exact")
class Exact(Part):
    """Costs one double backward; holds the training graph until the end."""

    double_backward: ClassVar[bool] = True
    uses_training_batch: ClassVar[bool] = True

    def __call__(self, problem: Problem) -> Estimate:
        # The graph below keeps the tensors w themselves, and `at` writes other values into them: so the product with v
        # is taken in a graph made anew at w, once v is known.
        with frozen(problem.alphas):
            slope = problem.gradient(problem.train_loss(), problem.weights)
        with problem.at(problem.virtual_weights(slope)):
            loss = problem.val_loss()
            both = problem.gradient(loss, [*problem.alphas, *problem.weights])
        direct, v = both[: len(problem.alphas)], both[len(problem.alphas) :]
        # Not averaged over processes: the product is linear in it, so averaging the result does the same.
        slope = gradient(problem.train_loss(), problem.weights, create_graph=True)
        product = sum(
            (torch.sum(g * x) for g, x in zip(slope, v, strict=True)),
            torch.zeros((), dtype=v[0].dtype, device=v[0].device),
        )
        implicit = [-problem.lr * g for g in problem.gradient(product, problem.alphas)]
        return Estimate(direct, implicit, loss.detach())
