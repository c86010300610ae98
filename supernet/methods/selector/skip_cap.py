"""At most so many skips in a cell (P-DARTS; Chen et al., arXiv:1904.12760, section 3.3.2).

project;   while more than `most` rows of the table take a skip: the weakest skip gets strength 0, project again

The authors print the cells for 8 to 0 skips and take M = 2 by hand, in the normal cell alone.
"""

import math
from typing import TYPE_CHECKING

from ...errors import SupernetError
from ...space import Genotype, Space
from ...space.space import Strengths
from ..parts import SELECTORS, Selector

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["SkipCap", "capped"]

SKIP = "skip_connect"


@SELECTORS.register("skip_cap")
class SkipCap(Selector):
    """`most` skips, 0 or more, in the cell of table `table`."""

    traits = frozenset({"counts skips", "takes the largest"})

    def __init__(self, most: int = 2, table: str = "normal") -> None:
        super().__init__()
        if most < 0:
            raise SupernetError(f"skip_cap: most={most} must be 0 or more")
        self.most, self.table = most, table

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without such a table, or without skips in it."""
        columns = {table.name: table.columns for table in space.tables}
        if SKIP not in columns.get(self.table, ()):
            raise SupernetError(
                f"method.selector=skip_cap counts {SKIP} in table {self.table!r}, which space {space.name!r} does not "
                f"have; its tables: {', '.join(sorted(columns))}"
            )

    def present(self, net: "Supernet") -> Genotype:
        return capped(net.space, net.options.ranked(net.strengths()), self.table, self.most)


def capped(space: Space, strengths: Strengths, table: str, most: int) -> Genotype:
    """The projection of `strengths` with at most `most` skips in `table`, where the other options allow it."""
    (columns,) = [t.columns for t in space.tables if t.name == table]
    skip = columns.index(SKIP)
    rows = [list(row) for row in strengths[table]]
    while True:
        genotype = space.project({**strengths, table: rows})
        taken = [row for row, column in space.active(genotype)[table] if column == skip and rows[row][skip] > 0]
        if len(taken) <= most:
            return genotype
        weakest = min(taken, key=lambda row: rows[row][skip])
        rows[weakest][skip] = 0.0 if math.isfinite(rows[weakest][skip]) else rows[weakest][skip]
