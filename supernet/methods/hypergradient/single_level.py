"""One level: alphas and weights learn from the same loss (SNAS; Xie et al., arXiv:1812.09926, section 2.3).

    grad_a L_train(w, a),   grad_w L_train(w, a)        of one backward on one batch

There is no validation loss that the alphas answer to, so they may overfit with the weights; in exchange a step costs
one pass in place of two, and no part of the training split has to be put aside for the alphas. The authors' code trains
on all of it, and looks at the test split in between; here a part stays for the measurement after each epoch
(`alpha_share`).
"""

from typing import ClassVar

from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem

__all__ = ["SingleLevel"]


@HYPERGRADIENTS.register("single_level")
class SingleLevel(Hypergradient):
    """In a step the backward of the weights gives this too, and no pass is run for it."""

    single_level: ClassVar[bool] = True
    traits = frozenset({"one level", "learns alphas"})

    def forward(self, problem: Problem) -> Estimate:
        """The estimate, [E, O] a table, by a pass of its own."""
        loss = problem.loss("train")
        return Estimate(problem.gradient(loss, problem.alphas), None, loss.detach())
