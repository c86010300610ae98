"""Alphas that are the mixing weights themselves (GAEA; Li et al., arXiv:2004.07802, section 3).

p = alpha,   a distribution a row, uniform at the start

A softmax would bend the way of the alphas; on the simplex an exponentiated gradient (alpha_optimiser=exp_gradient)
steps the weights that the network runs with. Where options of a row were pruned, the others are divided by their sum;
the step does not see that factor.
"""
# E edges, O operations

import torch
from torch import Tensor

from ...network import Supernet
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Simplex"]


@RELAXATIONS.register("simplex")
class Simplex(Relaxation):
    """Goes with alphas that stay above 0."""

    traits = frozenset({"weights themselves", "simplex"})

    @torch.no_grad()
    def bind(self, net: Supernet, seed: int) -> None:
        """Alphas begin uniform over the options of their rows."""
        for table in net.space.tables:
            there = torch.tensor(table.mask, dtype=torch.float64)
            net.alpha[table.name].copy_(there / there.sum(-1, keepdim=True))

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] whose rows sum to 1, of alphas [E, O] above 0."""
        p_EO = alpha_EO.masked_fill(torch.isinf(alpha_EO), 0.0)
        return p_EO / p_EO.sum(-1, keepdim=True)
