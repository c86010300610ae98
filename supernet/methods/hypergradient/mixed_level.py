"""The gradients of both losses, weighed (MiLeNAS; He et al., arXiv:2003.12238, equation 5).

    grad_a L_val(w, a) + weight * grad_a L_train(w, a)

A single level fits the alphas to the training part, two levels steer them by weights that are not the best ones; the
sum is between both, first order in each. In the authors' code the weight is on the training term, 1 by default. Their
weights' half clips the gradients of the alphas in place of the weights'; here those of the weights are clipped.
"""

import torch

from ...errors import SupernetError
from ...network.freezing import frozen
from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem

__all__ = ["MixedLevel"]


@HYPERGRADIENTS.register("mixed_level")
class MixedLevel(Hypergradient):
    """`weight`, 0 or more, is that of the training loss; 0 is first order. Costs one pass more."""

    traits = frozenset({"learns alphas"})

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise SupernetError(f"mixed_level: weight={weight} must be 0 or more")
        self.weight = float(weight)

    def forward(self, problem: Problem) -> Estimate:
        with frozen(problem.weights):
            loss = problem.loss("val")
            validation = problem.gradient(loss, problem.alphas)
            training = problem.gradient(problem.loss("train"), problem.alphas)
        return Estimate(list(torch._foreach_add(validation, training, alpha=self.weight)), None, loss.detach())
