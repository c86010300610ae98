"""Softmax relaxation (DARTS, arXiv:1806.09055, equation 2).

p[e, o] = exp(alpha[e, o]) / sum_o' exp(alpha[e, o'])
"""
# E edges, O operations

from torch import Tensor

from ...network.supernet import softmax
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Softmax"]


@RELAXATIONS.register("softmax")
class Softmax(Relaxation):
    """A distribution over the options of each row."""

    traits = frozenset({"logits"})

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] whose rows sum to 1, of alphas [E, O]."""
        return softmax(alpha_EO, table)
