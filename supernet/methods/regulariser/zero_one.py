"""Weights are pushed away from one half, towards 0 or 1 (FairDARTS; Chu et al., arXiv:1911.12126, section 4.2).

L_val - factor * mean over all options of (p - 1/2)^2        norm="l2"
L_val - factor * mean over all options of |p - 1/2|          norm="l1"

Independent weights would stay in between, where a threshold says little. At alpha = 0, where a sigmoid begins, the
gradient of the first form is exactly 0. The mean is over all tables together.
"""
# E edges, O operations

from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import SupernetError, unknown
from ...network import Supernet
from ...space import Table
from ..part import Clock
from ..parts import REGULARISERS
from .penalty import AlphaPenalty

__all__ = ["ZeroOne"]

Norm = Literal["l2", "l1"]


@REGULARISERS.register("zero_one")
class ZeroOne(AlphaPenalty):
    """`factor` is 0 or more; of p as the relaxation gives it, without a draw."""

    traits = frozenset({"regularises alphas"})

    def __init__(self, factor: float = 10.0, norm: str = "l2") -> None:
        super().__init__()
        if factor < 0:
            raise SupernetError(f"zero_one: factor={factor} must be 0 or more")
        if norm not in get_args(Norm):
            raise SupernetError(unknown("norm of zero_one", norm, get_args(Norm)))
        self.constant, self.norm, self.options = float(factor), norm, 1

    def bind(self, net: Supernet, seed: int) -> None:
        """Counts the options of all tables."""
        super().bind(net, seed)
        self.options = sum(sum(row) for table in net.space.tables for row in table.mask)

    def factor_at(self, clock: Clock) -> float:
        return self.constant

    def penalty(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """The share of a table in the mean, a scalar, for alphas [E, O]; what a row lacks counts nothing."""
        away_EO = self._net[0].relaxation(alpha_EO, table) - 0.5
        sizes_EO = away_EO**2 if self.norm == "l2" else away_EO.abs()
        return -(sizes_EO * torch.isfinite(alpha_EO)).sum() / self.options
