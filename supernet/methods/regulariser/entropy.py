"""The entropy of the rows of mixing weights, as a term of the loss of the alphas.

L_val + factor(e) * mean over rows of -sum_o p[e, o] log p[e, o]

A factor above 0 makes rows decide, below 0 keeps them open. GAEA (arXiv:2004.07802) has .01 in its variants by
exponentiated gradient, ASAP and SNAS reach the same by a temperature. The factor runs from `factor` to `factor_end` in
a straight line over the epochs.
"""
# E edges, O operations

from torch import Tensor

from ...space import Table
from ..part import Clock
from ..parts import REGULARISERS
from ..ramp import line
from ..sampler.logarithm import log_weights
from .penalty import AlphaPenalty

__all__ = ["Entropy", "mean_entropy"]


@REGULARISERS.register("entropy")
class Entropy(AlphaPenalty):
    """`factor` and `factor_end` (None: the same) are any numbers; of p as the relaxation gives it, without a draw."""

    traits = frozenset({"row entropy", "regularises alphas"})

    def __init__(self, factor: float = 0.01, factor_end: float | None = None) -> None:
        super().__init__()
        self.first, self.last = float(factor), float(factor if factor_end is None else factor_end)

    def factor_at(self, clock: Clock) -> float:
        return line(self.first, self.last, clock)

    def penalty(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """The mean entropy of the rows of alphas [E, O], in nats, a scalar."""
        return mean_entropy(self._net[0].relaxation(alpha_EO, table))


def mean_entropy(p_EO: Tensor) -> Tensor:
    """The mean entropy, a scalar in nats, of the rows of weights [E, O], each divided by its sum."""
    p_EO = p_EO / p_EO.sum(-1, keepdim=True)
    return -(p_EO * log_weights(p_EO).masked_fill(p_EO == 0, 0.0)).sum(-1).mean()
