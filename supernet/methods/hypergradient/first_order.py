"""First-order hypergradient (DARTS, arXiv:1806.09055, section 2.3 with xi = 0).

    grad_a L_val(w, a)

No gradient with respect to the weights is computed.
"""

from ...network.freezing import frozen
from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem

__all__ = ["FirstOrder"]


@HYPERGRADIENTS.register("first_order")
class FirstOrder(Hypergradient):
    """The present weights stand for the best ones."""

    traits = frozenset({"learns alphas"})

    def forward(self, problem: Problem) -> Estimate:
        with frozen(problem.weights):
            loss = problem.loss("val")
            return Estimate(problem.gradient(loss, problem.alphas), None, loss.detach())
