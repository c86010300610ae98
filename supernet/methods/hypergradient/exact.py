"""Exact second-order hypergradient of one virtual step, by differentiating twice (DARTS, arXiv:1806.09055, equation 7).

    g      = grad_w L_tr(w, a),   w' = w - xi (m b + g + d w)                virtual step, see problem.py
    v      = grad_w' L_val(w', a)
    result = grad_a L_val(w', a) - xi (dg/da)^T v

Buffer and weight decay do not depend on a, so they move w' but add no term.
"""

from typing import ClassVar

import torch

from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem, gradient

__all__ = ["Exact"]


@HYPERGRADIENTS.register("exact")
class Exact(Hypergradient):
    """Costs one double backward; holds the training graph until the end."""

    double_backward: ClassVar[bool] = True
    uses_training_batch = True
    traits = frozenset({"learns alphas", "differentiates twice"})

    def forward(self, problem: Problem) -> Estimate:
        # A graph made before would hold the tensors w, into which the virtual step writes other values: so the product
        # with v is taken in one made anew at w, once v is known.
        direct, v, loss = problem.behind_virtual_step()
        # Not averaged over processes: the product is linear in it, so averaging the result does the same.
        slope = gradient(problem.loss("train"), problem.weights, create_graph=True)
        product = sum(
            (torch.sum(g * x) for g, x in zip(slope, v, strict=True)),
            torch.zeros((), dtype=v[0].dtype, device=v[0].device),
        )
        implicit = [-problem.lr * g for g in problem.gradient(product, problem.alphas)]
        return Estimate(direct, implicit, loss)
