"""Points one decision apart, and the distance between points.

A neighbour changes one open decision: another option, one item swapped for another, another number. What the change
opens anew takes every value it can, so that being neighbours is symmetric. Points come lazily, in a fixed order.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from .decision import Decision, Integer, KOf, Value

__all__ = ["neighbours", "points"]

Point = dict[str, Value]


def points(decisions: Sequence[Decision], prefix: str = "") -> Iterator[Point]:
    """Every point below `decisions`, in a fixed order, one at a time."""
    if not decisions:
        yield {}
        return
    first, rest = decisions[0], decisions[1:]
    for head in _points_of(first, prefix):
        for tail in points(rest, prefix):
            yield head | tail


def neighbours(decisions: Sequence[Decision], point: Mapping[str, Value], prefix: str = "") -> Iterator[Point]:
    """Every point that differs from `point` in one open decision and what hangs below it."""
    for decision in decisions:
        path = prefix + decision.name
        taken = decision.taken(point[path])
        for value, closed, opened in _changes(decision, taken):
            kept = {k: v for k, v in point.items() if not (closed and k.startswith(f"{path}/{closed}/"))}
            kept[path] = value
            for below in points(decision.options[opened], f"{path}/{opened}/"):
                yield kept | below
        for option in taken:
            yield from neighbours(decision.options[option], point, f"{path}/{option}/")


def _points_of(decision: Decision, prefix: str) -> Iterator[Point]:
    path = prefix + decision.name
    names = list(decision.options)
    sets = combinations(names, decision.k) if isinstance(decision, KOf) else ((name,) for name in names)
    for taken in sets:
        for below in _below(decision, taken, path):
            yield {path: _value(decision, taken)} | below


def _below(decision: Decision, taken: Sequence[str], path: str) -> Iterator[Point]:
    """Every joint point of the decisions that the options `taken` open."""
    if not taken:
        yield {}
        return
    for head in points(decision.options[taken[0]], f"{path}/{taken[0]}/"):
        for tail in _below(decision, taken[1:], path):
            yield head | tail


def _changes(decision: Decision, taken: tuple[str, ...]) -> Iterator[tuple[Value, str, str]]:
    """(new value, option that closes, option that opens) for each single change."""
    names = list(decision.options)
    for closed in taken:
        for opened in names:
            if opened not in taken:
                new = sorted({*taken, opened} - {closed}, key=names.index)
                yield _value(decision, tuple(new)), closed, opened


def _value(decision: Decision, taken: tuple[str, ...]) -> Value:
    if isinstance(decision, KOf):
        return taken
    return int(taken[0]) if isinstance(decision, Integer) else taken[0]
