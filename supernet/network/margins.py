"""How clearly the alphas decide: the lead of each row's strongest option, and how far all rows are from uniform.

margin(row)  = p_1 - p_2                   of the strongest and the next option that the projection chooses from
decided(row) = 1 - H(p) / log n                            0 for a uniform row of n options, 1 for a decided one
"""
# E edges, O operations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

from ..space.space import Space, Strengths
from .mixture import HostMask

__all__ = ["UNDECIDED", "Margin", "decided", "margins"]

# Below this share the genotype says little but how the alphas were drawn: initial alphas of .001 N(0, 1) have 2e-7, two
# epochs on small images 5e-6, and finished DARTS searches on CIFAR-10 .05 and more.
UNDECIDED = 0.01


@dataclass(frozen=True)
class Margin:
    """A row of a table with its two strongest options and their mixing weights, in 0..1."""

    table: str
    row: str
    first: str
    second: str
    p_first: float
    p_second: float

    @property
    def lead(self) -> float:
        """By how much the first one is ahead."""
        return self.p_first - self.p_second

    def __str__(self) -> str:
        return (
            f"{self.table} {self.row}: {self.first} {self.p_first:.4f} before {self.second} {self.p_second:.4f} "
            f"(margin {self.lead:.4f})"
        )


def margins(space: Space, strengths: Strengths, masks: Mapping[str, HostMask]) -> list[Margin]:
    """The margin of each decision: rows with two options or more that compete, then choices of inputs.

    Strengths and masks are [E][O] a table.
    """
    rows: list[Margin] = []
    for table in space.tables:
        for row, (name, values, runs) in enumerate(
            zip(table.rows, strengths[table.name], masks[table.name], strict=True)
        ):
            options = [(values[column], column) for column in space.competing(table, row) if runs[column]]
            if len(options) > 1:
                (p, first), (q, second) = sorted(options, key=lambda option: (-option[0], option[1]))[:2]
                rows.append(Margin(table.name, name, table.columns[first], table.columns[second], p, q))
    return rows + [Margin(*margin) for margin in space.input_margins(strengths)]


def decided(space: Space, strengths: Strengths, masks: Mapping[str, HostMask]) -> float:
    """The mean of 1 - H / log n over the rows that have two options or more, in 0..1; 1 where there is none.

    `strengths` and `masks` are [E][O] a table. Weights that do not sum to 1 in a row are divided by their sum.
    """
    shares: list[float] = []
    for table in space.tables:
        for values, runs in zip(strengths[table.name], masks[table.name], strict=True):
            left = [max(p, 0.0) for p, on in zip(values, runs, strict=True) if on]
            total = sum(left)
            if len(left) > 1 and total > 0:
                entropy = -sum(p / total * log(p / total) for p in left if p > 0)
                shares.append(1 - entropy / log(len(left)))
    return sum(shares) / len(shares) if shares else 1.0
