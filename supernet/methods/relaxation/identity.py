"""Alphas as they are, in no softmax (NASP; Yao et al., arXiv:1905.13577, section 3).

p[e, o] = alpha[e, o]

They begin at `start` with the small noise that all alphas are drawn with, so that no two of a row are equal. What keeps
them in bounds is the alphas' optimiser (clipped_adam).
"""
# E edges, O operations

import torch
from torch import Tensor

from ...network import Supernet
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Identity"]


@RELAXATIONS.register("identity")
class Identity(Relaxation):
    """`start` is added to the alphas as they are drawn."""

    traits = frozenset({"weights themselves", "any real weight"})

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        self.start = start

    @torch.no_grad()
    def bind(self, net: Supernet, seed: int) -> None:
        """Moves the alphas to where they begin."""
        for alpha in net.alphas():
            alpha.add_(self.start)

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """The alphas [E, O]; 0 for what a row lacks."""
        return alpha_EO.masked_fill(torch.isinf(alpha_EO), 0.0)
