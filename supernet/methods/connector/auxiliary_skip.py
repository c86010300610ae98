"""An auxiliary skip connection on every edge (DARTS-; Chu et al., arXiv:2009.01027, section 3.3).

edge(x) = sum_o p_o o(x) + beta(e) aux(x),     beta(e) = first * (T - e) / T

A skip has two roles: a candidate, and a way for the gradient that makes training stable. The auxiliary one takes over
the second, so that alpha measures the first alone; it fades with beta and is never chosen. aux is the identity where
the edge keeps the size, else a factorised reduction of its own, which learns with the weights. In the authors' code the
last epoch has beta = 1 / T, not 0.
"""
# B batch, C channels, H height, W width

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...network.cells.cell import MixedCell
from ...network.connector import AUXILIARY, EdgeSite
from ...network.seeding import seeded
from ...ops.identity import FactorizedReduce
from ..part import Clock
from ..parts import CONNECTORS, EdgeConnector

__all__ = ["AuxiliarySkip"]


@CONNECTORS.register("auxiliary_skip")
class AuxiliarySkip(EdgeConnector):
    """`first` is beta in epoch 0; 0 is a search without an auxiliary skip."""

    beta: Tensor
    traits = frozenset({"weakens skips"})
    learns_with: ClassVar[Literal["alphas", "weights"]] = "weights"

    def __init__(self, first: float = 1.0) -> None:
        super().__init__()
        if first < 0:
            raise SupernetError(f"auxiliary_skip: first={first} must be 0 or more")
        self.first = float(first)
        self.register_buffer("beta", torch.tensor(self.first), persistent=False)
        self.reductions = nn.ModuleDict()  # "SITE_ROW" -> the reduction of an edge that halves the size

    def bind(self, net: Supernet, seed: int) -> None:
        """Makes the reductions, one an edge of stride 2."""
        like = next(iter(net.body.parameters()))
        cells = [module for module in net.body.modules() if isinstance(module, MixedCell)]
        with seeded(seed):
            for site, cell in enumerate(cells):
                width = cell.plan.channels // cell.partial
                for edge in cell.edge_sites(site):
                    if edge.stride == 2:
                        self.reductions[f"{site}_{edge.row}"] = FactorizedReduce(width, width, affine=False)
        self.to(like)

    def prepare(self, clock: Clock) -> None:
        self.beta.fill_(self.first * (clock.epochs - clock.epoch) / clock.epochs)

    def forward(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs [B, C, H', W'] by operation, and beta aux(x) beside them, for `x` [B, C, H, W]."""
        aux = x if edge.stride == 1 else self.reductions[f"{edge.site}_{edge.row}"](x)
        return outputs | {AUXILIARY: self.beta.to(aux.dtype) * aux}
