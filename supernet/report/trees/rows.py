"""A decision tree as rows, one a decision in the order of the network, for a drawing to set out.

Decisions that share a group are one row, where the first of them stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...space import Decision, Genotype, Space
from ...space.reach import reach
from ...space.space import Strengths

__all__ = ["Row", "tree_rows"]


@dataclass(frozen=True)
class Row:
    """One decision: `options`, and of these `taken` (column numbers) or the weights `p`, or neither.

    `above` is the row of the decision that opens it, -1 at the root, `opened_by` the options that do so.
    """

    group: str
    name: str
    options: tuple[str, ...]
    depth: int = 0
    above: int = -1
    opened_by: tuple[str, ...] = ()
    taken: frozenset[int] | None = None
    p: tuple[float, ...] | None = None
    open: float = 1.0  # 0 closed, 1 open; of a relaxed tree the probability
    default: bool = False  # `taken` is the default of a decision that has no alphas


def tree_rows(space: Space, genotype: Genotype | None = None, strengths: Strengths | None = None) -> list[Row]:
    """The rows of the space; decided by `genotype`, else weighed by `strengths`, else open.

    Raises GenotypeError or SupernetError where these do not fit the space.
    """
    rows: list[Row] = []
    _descend(space.root, "", -1, "", rows, {})
    if genotype is not None:
        active = space.active(genotype)
        taken = [frozenset(column for _, column in active[row.group]) for row in rows]
        return [replace(row, taken=t, open=float(bool(t))) for row, t in zip(rows, taken, strict=True)]
    if strengths is None:
        return rows
    space.check_strengths(strengths)
    open_ = reach(space, strengths)
    return [_weighed(space, row, strengths, min(1.0, float(open_[row.group]))) for row in rows]


def _weighed(space: Space, row: Row, strengths: Strengths, probability: float) -> Row:
    if row.group in strengths:
        return replace(row, p=tuple(map(float, strengths[row.group][0])), open=probability)
    default = space.searchable[row.group]
    return replace(row, taken=frozenset([default.index(True)]), open=probability, default=True)


def _descend(
    decisions: Sequence[Decision], prefix: str, above: int, option: str, rows: list[Row], met: dict[str, int]
) -> None:
    depth = rows[above].depth + 1 if above >= 0 else 0
    for decision in decisions:
        path = prefix + decision.name
        group = decision.group or path
        if group in met:
            row = rows[met[group]]
            if row.above == above and option not in row.opened_by:
                rows[met[group]] = replace(row, opened_by=(*row.opened_by, option))
        else:
            met[group] = len(rows)
            opened_by = (option,) if above >= 0 else ()
            rows.append(Row(group, decision.name, tuple(decision.options), depth, above, opened_by))
        here = met[group]
        for name, below in decision.options.items():
            if below:
                _descend(below, f"{path}/{name}/", here, name, rows, met)
