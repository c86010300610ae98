"""First-order hypergradient (DARTS, arXiv:1806.09055, section 2.3 with xi = 0).

    grad_a L_val(w, a)

No gradient with respect to the weights is computed.
"""

from typing import ClassVar

from ..part import Part
from .problem import Estimate, Problem, frozen
from .registry import HYPERGRADIENTS

__all__ = ["FirstOrder"]


@HYPERGRADIENTS.register("first_order")
class FirstOrder(Part):
    """The present weights stand for the best ones."""

    double_backward: ClassVar[bool] = False
    uses_training_batch: ClassVar[bool] = False

    def __call__(self, problem: Problem) -> Estimate:
        with frozen(problem.weights):
            loss = problem.val_loss()
            return Estimate(problem.gradient(loss, problem.alphas), None, loss.detach())
