"""Every option that is left weighs the same; alphas play no part.

p[e, o] = 1 / n[e]      n = options that row e has left     of="left"
p[e, o] = 1 / O         rows sum to less as options go      of="all"      IS-DARTS (He et al., arXiv:2312.12648)
p[e, o] = 1             the plain sum                       of="one"      TE-NAS (Chen et al., arXiv:2102.11535)

For methods that take options away one after the other and weigh none of them.
"""
# E edges, O operations

from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import SupernetError, unknown
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Uniform"]

Share = Literal["left", "all", "one"]


@RELAXATIONS.register("uniform")
class Uniform(Relaxation):
    """`of` says what the weight of an option is a share of."""

    def __init__(self, of: str = "left") -> None:
        super().__init__()
        if of not in get_args(Share):
            raise SupernetError(unknown("share of relaxation uniform", of, get_args(Share)))
        self.of = of
        self.traits = frozenset({"draws without alphas"} | (set() if of == "left" else {"any real weight"}))

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Equal weights [E, O] of what the alphas [E, O] say is there."""
        there = torch.isfinite(alpha_EO).to(alpha_EO.dtype)
        if self.of == "one":
            return there
        return there / (there.sum(-1, keepdim=True) if self.of == "left" else alpha_EO.shape[-1])
