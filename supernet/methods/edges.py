"""Which rows of a table a projection takes, found by asking the space: what pruning edge by edge must leave."""
# E edges, O operations

from collections.abc import Mapping, Sequence

from ..network.mixture import HostMask
from ..space import Space, Table
from ..space.space import Strengths

__all__ = ["NONE", "columns_left", "nodes", "taken_rows", "without"]

NONE = "none"


def nodes(table: Table) -> dict[int, list[int]]:
    """The rows that enter each node of a table; a row that is no edge is a node of its own."""
    targets = table.targets or range(table.shape[0])
    groups: dict[int, list[int]] = {}
    for row, target in enumerate(targets):
        groups.setdefault(target, []).append(row)
    return groups


def taken_rows(space: Space, table: Table, favoured: Sequence[int] = ()) -> set[int]:
    """The rows of a table that a projection takes where all are alike, or the `favoured` ones are stronger."""
    even = {other.name: [[1.0] * other.shape[1]] * other.shape[0] for other in space.tables}
    rows = [[2.0 if row in favoured else 1.0] * table.shape[1] for row in range(table.shape[0])]
    return {row for row, _ in space.active(space.project({**even, table.name: rows})).get(table.name, [])}


def columns_left(space: Space, table: Table, masks: Mapping[str, HostMask]) -> list[list[int]]:
    """For each row of a table the columns that a projection may choose and that were not pruned."""
    mask = masks[table.name]
    return [[column for column in space.competing(table, row) if mask[row][column]] for row in range(table.shape[0])]


def without(mask: HostMask, gone: Sequence[tuple[int, int]]) -> HostMask:
    """The mask [E][O] without some (row, column)."""
    lost = set(gone)
    return tuple(
        tuple(runs and (row, column) not in lost for column, runs in enumerate(runs_of_row))
        for row, runs_of_row in enumerate(mask)
    )


def strongest_column(strengths: Strengths, table: str, row: int, columns: Sequence[int]) -> int:
    """Of some columns of a row the one with the largest strength; of equals the first."""
    return max(columns, key=lambda column: strengths[table][row][column])
