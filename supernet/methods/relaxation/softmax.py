"""Softmax relaxation (DARTS, arXiv:1806.09055, equation 2).

p[e, o] = exp(alpha[e, o]) / sum_o' exp(alpha[e, o'])
"""

from torch import Tensor

from ...network.supernet import softmax
from ...space.space import Table
from ..part import Part
from .registry import RELAXATIONS

__all__ = ["Softmax"]


@RELAXATIONS.register("softmax")
class Softmax(Part):
    """A distribution over the options of each row."""

    def __call__(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """P of the same shape; each row sums to 1."""
        return softmax(alpha_EO)
