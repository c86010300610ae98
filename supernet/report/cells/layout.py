"""Where the boxes, labels and lines of a layered drawing go.

The method of Sugiyama et al. (1981) with the refinement of graphviz' dot (Gansner et al., "A technique for drawing
directed graphs", 1993): vertices stand in columns by their longest path; an edge gets a place of its own in each column
that it crosses, one of them wide enough for its label; so no label and no line runs over another's box. The order
inside the columns comes from sweeps by the mean of the neighbours, the heights from least squares under the order.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Edge", "Item", "place"]

STARTS = 12  # of ordering
SWEEPS = 8  # a start; cells of up to 7 nodes settle within these
ROUNDS = 60  # of height relaxation


@dataclass(eq=False)
class Item:
    """Something with a place in a column: a vertex, a label, or a point that a line runs through."""

    column: int
    width: float
    height: float
    label: str | None = None
    x: float = 0.0
    y: float = 0.0
    left: list["Item"] = field(default_factory=list)
    right: list["Item"] = field(default_factory=list)


@dataclass(eq=False)
class Edge:
    """A line from one vertex to another through its points; `label` is one of them, or None."""

    source: Item
    target: Item
    points: list[Item] = field(default_factory=list)
    label: Item | None = None


def place(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int, tuple[float, float] | None]],
    *,
    gap: tuple[float, float],
    last: int | None = None,
) -> tuple[list[Item], list[Edge]]:
    """Places vertices of (width, height) and edges (source < target, size of the label or None), y upwards.

    `gap` is the free room between columns and inside one; `last` is a vertex that stands right of all others.
    """
    layer = [0] * len(sizes)
    for source, target, _ in sorted(edges, key=lambda e: e[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    if last is not None:
        layer[last] = max([layer[last], *(1 + layer[i] for i in range(len(sizes)) if i != last)])
    vertices = [Item(2 * layer[i], *size) for i, size in enumerate(sizes)]
    lines = [_line(vertices[a], vertices[b], label, gap[1]) for a, b, label in edges]
    columns: list[list[Item]] = [[] for _ in range(2 * max(layer) + 1)]
    for item in [*vertices, *(point for line in lines for point in line.points)]:
        columns[item.column].append(item)
    _order(columns)
    _heights(columns, gap[1])
    x = 0.0
    for column in columns:
        width = max((item.width for item in column), default=0.0)
        for item in column:
            item.x = x + width / 2
            item.width = item.width or width  # a line stays level beside boxes, else it cuts their corners
        x += width + gap[0]
    return vertices, lines


def _line(source: Item, target: Item, label: tuple[float, float] | None, gap: float) -> Edge:
    """The edge with a point in each column between; the label stands in the last, beside the vertex that uses it."""
    line = Edge(source, target)
    for column in range(source.column + 1, target.column):
        here = label is not None and column == target.column - 1
        width, height = label if here and label is not None else (0.0, gap / 2)
        line.points.append(Item(column, width, height))
        if here:
            line.label = line.points[-1]
    chain = [source, *line.points, target]
    for a, b in itertools.pairwise(chain):
        a.right.append(b)
        b.left.append(a)
    return line


def _order(columns: list[list[Item]]) -> None:
    """Sorts each column so that few lines cross; keeps the best order that the sweeps of any start find.

    The starts after the first are shuffled: a line across several columns moves to the other side of a vertex only as
    a whole, which sweeps from one start often miss. The shuffles are seeded, so a cell is always drawn the same.
    """
    rng = random.Random(0)
    best, least = [list(column) for column in columns], _crossings(columns)
    for start in range(STARTS):
        if start:
            for column in columns:
                rng.shuffle(column)
        for sweep in range(SWEEPS):
            _sweep(columns, forward=sweep % 2 == 0)
            if (now := _crossings(columns)) < least:
                best, least = [list(column) for column in columns], now
    columns[:] = best


def _sweep(columns: list[list[Item]], forward: bool) -> None:
    """Sorts one column after the other by the mean rank of what its items are tied to in the one before."""
    rank = {id(item): float(i) for column in columns for i, item in enumerate(column)}
    mean: dict[int, float] = {}
    for column in columns if forward else reversed(columns):
        for item in column:
            beside = item.left if forward else item.right
            mean[id(item)] = sum(rank[id(b)] for b in beside) / len(beside) if beside else rank[id(item)]
        column.sort(key=lambda item: mean[id(item)])
        rank.update((id(item), float(i)) for i, item in enumerate(column))


def _crossings(columns: list[list[Item]]) -> int:
    total = 0
    for here, after in itertools.pairwise(columns):
        rank = {id(item): i for i, item in enumerate(after)}
        ends = [(i, rank[id(b)]) for i, item in enumerate(here) for b in item.right]
        total += sum(a < c and b > d for (a, b), (c, d) in itertools.combinations(ends, 2))  # `ends` ascend in a
    return total


def _heights(columns: list[list[Item]], gap: float) -> None:
    """Pulls each item towards its neighbours, the first of a column on top, none closer than `gap`."""
    for column in columns:
        _settle(column, [0.0] * len(column), gap)
    for turn in range(ROUNDS):
        for column in columns if turn % 2 == 0 else reversed(columns):
            goals = []
            for item in column:
                beside = item.left + item.right
                goals.append(sum(b.y for b in beside) / len(beside) if beside else item.y)
            _settle(column, goals, gap)


def _settle(column: list[Item], goals: list[float], gap: float) -> None:
    """The heights nearest to `goals` (least squares) under order and distance: pool adjacent violators."""
    offset, offsets = 0.0, []
    for i, item in enumerate(column):
        if i:
            offset += (column[i - 1].height + item.height) / 2 + gap
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []  # mean, count; means fall from the top of the column to its bottom
    for goal, below in zip(goals, offsets, strict=True):
        mean, count = goal + below, 1
        while blocks and blocks[-1][0] < mean:
            before, number = blocks.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        blocks.append((mean, count))
    tops = [mean for mean, count in blocks for _ in range(count)]
    for item, top, below in zip(column, tops, offsets, strict=True):
        item.y = top - below
