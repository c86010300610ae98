"""Independent weights (FairDARTS; Chu et al., arXiv:1911.12126, section 4.1).

p[e, o] = sigmoid(alpha[e, o])

The operations of a row do not compete for a sum of 1, so that a skip does not win by what the others lose. Alphas begin
at 0, where every weight is one half (the authors' code).
"""
# E edges, O operations

import torch
from torch import Tensor

from ...network import Supernet
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Sigmoid"]


@RELAXATIONS.register("sigmoid")
class Sigmoid(Relaxation):
    """A weight in (0, 1) for each option; rows have any sum."""

    traits = frozenset({"logits", "any real weight"})

    @torch.no_grad()
    def bind(self, net: Supernet, seed: int) -> None:
        """Alphas begin at 0."""
        for alpha in net.alphas():
            alpha.zero_()

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] in (0, 1) of alphas [E, O]; 0 for what a row lacks."""
        return torch.sigmoid(alpha_EO)
