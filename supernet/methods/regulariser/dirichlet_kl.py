"""The distance of each row's Dirichlet distribution from the uniform one (DrNAS; arXiv:2006.10355, equation 7).

L_val + factor * sum over rows of KL(Dir(c) || Dir(1)),     c = elu(alpha) + 1

KL = lnG(c0) - sum lnG(c_o) - lnG(O) + sum (c_o - 1) (psi(c_o) - psi(c0)),     c0 = sum c_o,  G the gamma function

The authors' `reg_type=kl`: it takes the place of weight decay on the alphas (1e-3). They add it to the training loss as
well, where it has no gradient by the weights.
"""
# E edges, O operations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SupernetError
from ...space import Table
from ..part import Clock
from ..parts import REGULARISERS
from .penalty import AlphaPenalty

__all__ = ["DirichletKL"]


@REGULARISERS.register("dirichlet_kl")
class DirichletKL(AlphaPenalty):
    """`factor`, 0 or more."""

    traits = frozenset({"rows are distributions", "regularises alphas"})

    def __init__(self, factor: float = 1e-3) -> None:
        super().__init__()
        if factor < 0:
            raise SupernetError(f"dirichlet_kl: factor={factor} must be 0 or more")
        self.constant = float(factor)

    def factor_at(self, clock: Clock) -> float:
        return self.constant

    def penalty(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """The sum over the rows of alphas [E, O] of the divergence, a scalar; a row counts the options that it has."""
        exists = torch.isfinite(alpha_EO)
        c = F.elu(alpha_EO.masked_fill(~exists, 0.0)) + 1
        total = (c * exists).sum(-1)
        count = exists.sum(-1).to(c.dtype)
        terms = (c - 1) * (torch.digamma(c) - torch.digamma(total)[:, None]) - torch.lgamma(c)
        return (torch.lgamma(total) - torch.lgamma(count) + (terms * exists).sum(-1)).sum()
