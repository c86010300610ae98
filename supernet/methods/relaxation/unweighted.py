"""All options at once, none weighed by an alpha (GSparsity; Chatzimichailidis et al., openreview r0GeE-arUe5).

p[e, o] = 1 where the option has weights of its own, else a scale s[e, o] that learns with the weights

What an option is worth shows in its weights alone, which a penalty may take to 0 (group_step.py). One without weights
gets a scale for that, shared by the cells of a kind; .8 is where it begins in the authors' code, which has one a cell.
`none` needs neither.
"""
# E edges, O operations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...space import Table
from ..parts import RELAXATIONS, Relaxation

__all__ = ["Unweighted"]

NONE = "none"


@RELAXATIONS.register("unweighted")
class Unweighted(Relaxation):
    """`scale`, above 0, is where the scales of options without weights begin."""

    traits = frozenset({"draws without alphas", "any real weight"})
    learns_with: ClassVar[Literal["alphas", "weights"]] = "weights"

    def __init__(self, scale: float = 0.8) -> None:
        super().__init__()
        if scale <= 0:
            raise SupernetError(f"unweighted: scale={scale} must be above 0")
        self.scale = float(scale)
        self.scales = nn.ParameterDict()  # "TABLE_ROW_COLUMN" -> [1]
        self._names: dict[str, list[str]] = {}  # table -> the names in `scales`
        self.places = nn.Module()  # a buffer a table: where in its [E, O] they stand

    def bind(self, net: Supernet, seed: int) -> None:
        """Makes the scales, and has them count among the weights of their options."""
        like = net.alphas()[0]
        for table in net.space.tables:
            sites = [number for number, site in enumerate(net.sites) if site == table.name]
            names, places = [], []
            for row, options in enumerate(table.mask):
                for column, exists in enumerate(options):
                    own = any(net.body.parameters_of(site, row, column) for site in sites if exists)
                    if own or not exists or table.columns[column] == NONE:
                        continue
                    name = f"{table.name}_{row}_{column}"
                    self.scales[name] = nn.Parameter(torch.full((1,), self.scale).to(like))
                    net.attach(table.name, row, column, self.scales[name])
                    names.append(name)
                    places.append(row * table.shape[1] + column)
            self._names[table.name] = names
            place = torch.tensor(places, dtype=torch.int64, device=like.device)
            self.places.register_buffer(table.name, place, persistent=False)

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """p [E, O], of alphas [E, O] that only say by -inf which options a row lacks."""
        exists = torch.isfinite(alpha_EO)
        p_EO = torch.ones_like(alpha_EO)
        if names := self._names[table.name]:
            scales = torch.cat([self.scales[name] for name in names]).to(p_EO)
            p_EO = p_EO.flatten().index_copy(0, self.places.get_buffer(table.name), scales).view_as(p_EO)
        return p_EO * exists
