"""No hypergradient: the alphas take no step, for methods whose alphas something else moves, or that have none.

SPOS (arXiv:1904.00420) trains weights alone; Shapley-NAS (arXiv:2206.09811) moves the alphas between epochs.
"""

from typing import ClassVar

import torch

from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem

__all__ = ["NoHypergradient"]


@HYPERGRADIENTS.register("none")
class NoHypergradient(Hypergradient):
    """Steps have no half of the alphas."""

    learns: ClassVar[bool] = False
    traits = frozenset({"no gradient of alphas"})

    def forward(self, problem: Problem) -> Estimate:
        """Zeros [E, O] a table."""
        return Estimate([torch.zeros_like(a) for a in problem.alphas], None, torch.zeros(()))
