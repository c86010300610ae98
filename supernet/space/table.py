"""The relaxed view of decisions: tables of rows and columns, and what is said about their entries."""
# E rows (edges), O columns (options)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Active", "Strengths", "Table"]

Strengths = Mapping[str, Sequence[Sequence[float]]]  # table name -> [E][O]
Active = dict[str, list[tuple[int, int]]]  # table name -> (row, column) of what a genotype runs


@dataclass(frozen=True)
class Table:
    """The relaxed view of one or more decisions: rows (edges) times columns (options), each row one distribution.

    `exists` [E][O] tells which options a row has, where rows differ in that; None: all. `targets` [E] has for each row
    the number of the node that its edge enters: rows of one target are added up there. None: rows are no edges.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    exists: tuple[tuple[bool, ...], ...] | None = None
    targets: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(E, O)"""
        return len(self.rows), len(self.columns)

    @property
    def mask(self) -> tuple[tuple[bool, ...], ...]:
        """`exists` [E][O], written out."""
        return self.exists or ((True,) * len(self.columns),) * len(self.rows)
