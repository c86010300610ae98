"""The weights of the options over the epochs, as tables whose colours a slider moves through."""
# E edges (rows), O options (columns)

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...runs.reading import Row, number
from ...space import Space

__all__ = ["LEVELS", "HeatTable", "heat_tables", "level"]

LEVELS = 20  # shades of the heat map, 0 the palest
MOST_CELLS = 1500  # of one table; larger ones are cut after that many
MOST_TABLES = 60


@dataclass(frozen=True)
class HeatTable:
    """One table of decisions: names of E rows and O columns, and its weights [epochs][E][O], None for what is absent.

    `most` is what the strongest colour stands for; `cut` counts the rows that are left out.
    """

    name: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[Sequence[float | None]]]
    most: float
    cut: int = 0


def heat_tables(states: Sequence[Row], space: Space | None) -> tuple[list[int], list[HeatTable], bool, int]:
    """(epochs counted from 1, tables, whether the weights are the method's own, how many tables are left out).

    `states` are rows of architectures.jsonl.

    Runs of earlier versions have alphas only; then the weights are their softmax, which is not what every method makes
    of them. Rows whose tables have another shape than the last one's (a space that was pruned) are left out.
    """
    own = bool(states) and all(isinstance(row.get("strengths"), dict) for row in states)
    shown = [(row.get("epoch"), _tables(row.get("strengths" if own else "alphas"), own)) for row in states]
    if not shown or not shown[-1][1]:
        return [], [], own, 0
    shapes = _shapes(shown[-1][1])
    kept = [(epoch, tables) for epoch, tables in shown if isinstance(epoch, int) and _shapes(tables) == shapes]
    named = {table.name: table for table in space.tables} if space is not None else {}
    heat = []
    for name, (rows, columns) in list(shapes.items())[:MOST_TABLES]:
        table = named.get(name)
        fits = table is not None and table.shape == (rows, columns)
        room = max(1, MOST_CELLS // max(1, columns))
        values = [tables[name][:room] for _, tables in kept]
        heat.append(
            HeatTable(
                name=name,
                rows=[*(table.rows if fits and table else map(str, range(1, rows + 1)))][:room],
                columns=[*(table.columns if fits and table else map(str, range(1, columns + 1)))],
                values=values,
                most=_top(values, columns),
                cut=max(0, rows - room),
            )
        )
    return [epoch + 1 for epoch, _ in kept], heat, own, len(shapes) - len(heat)


def _top(values: Sequence[Sequence[Sequence[float | None]]], columns: int) -> float:
    """The largest weight of all epochs, and at least twice a uniform one: what is undecided looks undecided."""
    there = [v for epoch in values for row in epoch for v in row if v is not None]
    return max(min(1.0, 2 / columns), *there, 0.0)


def level(value: float | None, most: float) -> int:
    """The shade of a weight: 0 for none, LEVELS for the largest."""
    return 0 if value is None or most <= 0 else max(0, min(LEVELS, round(LEVELS * value / most)))


def _shapes(tables: Mapping[str, Sequence[Sequence[object]]]) -> dict[str, tuple[int, int]]:
    return {name: (len(rows), len(rows[0])) for name, rows in tables.items()}


def _tables(stored: object, own: bool) -> dict[str, list[list[float | None]]]:
    """Tables {name: [E][O]} of what a file holds; those that are no tables of numbers are left out."""
    tables = {}
    for name, rows in stored.items() if isinstance(stored, dict) else ():
        if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
            continue
        if len({len(row) for row in rows}) == 1:
            tables[name] = [_weights(row, own) for row in rows]
    return tables


def _weights(row: Sequence[object], own: bool) -> list[float | None]:
    values = [number(value) for value in row]
    there = [value for value in values if value is not None]
    if own or not there:
        return [None if value is None else round(value, 3) for value in values]
    shifted = [None if value is None else math.exp(value - max(there)) for value in values]
    total = sum(value for value in shifted if value is not None)
    return [None if value is None else round(value / total, 3) for value in shifted]
