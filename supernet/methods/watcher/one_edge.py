"""A supernet for each operation of one edge (Few-shot NAS; Zhao et al., arXiv:2006.06863, section 3).

at the share `at` of a search:   children i = 1 .. n, one for each operation o_i of one edge, which keep o_i alone there
each starts from the weights and alphas of the parent and trains for the epochs that are left
the result is the genotype of the child with the best validation metric

Operations that share all other weights disturb each other; a child shares them among fewer architectures. That children
inherit their parent's weights is recalled, and so is that any edge will do: the first is taken. The search gets n - 1
times the epochs that are left longer.
"""

from collections.abc import Sequence

from ...errors import SupernetError, unknown
from ...network.mixture import HostMask
from ...space import Space, Table
from ..edges import columns_left
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..phase import Phase
from ..verdict import Enter, Verdict

__all__ = ["OneEdge"]


@WATCHERS.register("one_edge")
class OneEdge(Watcher):
    """`at` in (0, 1); `table` None is the first table, `row` one of its rows by number."""

    traits = frozenset({"splits"})

    def __init__(self, at: float = 0.5, table: str | None = None, row: int = 0) -> None:
        super().__init__()
        if not 0 < at < 1:
            raise SupernetError(f"one_edge: at={at} must lie in (0, 1)")
        self.at, self.table, self.row = at, table, row

    def check(self, space: Space) -> None:
        """Raises SupernetError for a table or a row that the space does not have, or one without a choice."""
        table = self._table(space)
        if not 0 <= self.row < table.shape[0]:
            raise SupernetError(f"one_edge: row={self.row} of table {table.name!r} must lie in 0..{table.shape[0] - 1}")
        if len(space.competing(table, self.row)) < 2:
            raise SupernetError(
                f"one_edge: row {self.row} of table {table.name!r} does not have two operations to split"
            )

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The children, once."""
        table, masks = self._table(look.net.space), look.net.masks()
        columns = columns_left(look.net.space, table, masks)[self.row]
        left = look.clock.epochs - (look.clock.epoch + 1)
        early = look.clock.epoch + 1 < self.at * look.clock.epochs or "alphas" not in look.learns
        if len(columns) < 2 or left < 1 or early:
            return ()
        children = [{table.name: _only(masks[table.name], self.row, column)} for column in columns]
        return (Enter(tuple(Phase(left, masks=mask, starts_from="parent") for mask in children)),)

    def _table(self, space: Space) -> Table:
        tables = {table.name: table for table in space.tables}
        if self.table is not None and self.table not in tables:
            raise SupernetError(unknown(f"table of space {space.name!r}:", self.table, tables))
        return next(iter(tables.values())) if self.table is None else tables[self.table]


def _only(mask: HostMask, row: int, column: int) -> HostMask:
    """The mask [E][O] with one option in a row."""
    return tuple(
        tuple(on and (number != row or other == column) for other, on in enumerate(runs))
        for number, runs in enumerate(mask)
    )
