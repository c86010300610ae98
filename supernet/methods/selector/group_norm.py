"""What a penalty on groups of weights has left (GSparsity; Chatzimichailidis et al., openreview r0GeE-arUe5).

strength[e, o] = |w| / sqrt(d) over all cells of a kind, 0 below `least`;     then the space's own projection

d is the count of numbers of the operation. `none`, which has no weights, counts `least`: it is taken where nothing else
is left and the space offers it. The authors keep every operation above the threshold; spaces here say themselves how
many an edge takes.
"""

from typing import TYPE_CHECKING

import torch

from ...errors import SupernetError
from ...space import Genotype
from ..groups import groups_of
from ..parts import SELECTORS, Selector

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["GroupNorm"]


@SELECTORS.register("group_norm")
class GroupNorm(Selector):
    """`least`, above 0, is the norm below which an operation is gone."""

    def __init__(self, least: float = 1e-6) -> None:
        super().__init__()
        if least <= 0:
            raise SupernetError(f"group_norm: least={least} must be above 0")
        self.least = least

    def present(self, net: "Supernet") -> Genotype:
        """The strongest of what is left."""
        return net.space.project(net.options.ranked(self.strengths(net)))

    @torch.no_grad()
    def strengths(self, net: "Supernet") -> dict[str, list[list[float]]]:
        """|w| / sqrt(d) [E][O] a table."""
        strengths = {table.name: [[self.least] * table.shape[1] for _ in table.rows] for table in net.space.tables}
        groups = groups_of(net)
        squares = [torch.stack([(w.double() ** 2).sum() for w in members]).sum() for members in groups.values()]
        norms = torch.stack(squares).sqrt().tolist() if squares else []
        for ((table, row, column), members), norm in zip(groups.items(), norms, strict=True):
            size = sum(w.numel() for w in members)
            strengths[table][row][column] = norm / size**0.5 if norm >= self.least else 0.0
        return strengths
