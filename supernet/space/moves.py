"""Points one decision apart, and the distance between points.

A neighbour changes one open decision: another option, one item swapped for another, another number. What the change
opens anew takes every value it can, so that being neighbours is symmetric; what it opens again under another path, such
as the blocks that two depths have in common, stays as it is. Points come lazily, in a fixed order.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

from .decision import Decision, Integer, KOf, Value, walk

__all__ = ["neighbours", "points"]

Point = dict[str, Value]
_NONE: Mapping[str, Value] = MappingProxyType({})


def points(decisions: Sequence[Decision], prefix: str = "", held: Mapping[str, Value] = _NONE) -> Iterator[Point]:
    """Every point below `decisions`, in a fixed order, one at a time; the decisions of the groups `held` are fixed."""
    if not decisions:
        yield {}
        return
    first, rest = decisions[0], decisions[1:]
    for head in _points_of(first, prefix, held):
        for tail in points(rest, prefix, held):
            yield head | tail


def neighbours(decisions: Sequence[Decision], point: Mapping[str, Value]) -> Iterator[Point]:
    """Every point that differs from `point` in one open decision and what hangs below it."""
    held = {decision.group: point[path] for path, decision in walk(decisions) if decision.group and path in point}
    return _neighbours(decisions, point, "", held)


def _neighbours(
    decisions: Sequence[Decision], point: Mapping[str, Value], prefix: str, held: Mapping[str, Value]
) -> Iterator[Point]:
    for decision in decisions:
        path = prefix + decision.name
        taken = decision.taken(point[path])
        for value, closed, opened in _changes(decision, taken):
            kept = {k: v for k, v in point.items() if not (closed and k.startswith(f"{path}/{closed}/"))}
            kept[path] = value
            for below in points(decision.options[opened], f"{path}/{opened}/", held):
                yield kept | below
        for option in taken:
            yield from _neighbours(decision.options[option], point, f"{path}/{option}/", held)


def _points_of(decision: Decision, prefix: str, held: Mapping[str, Value]) -> Iterator[Point]:
    path = prefix + decision.name
    names = list(decision.options)
    sets = combinations(names, decision.k) if isinstance(decision, KOf) else ((name,) for name in names)
    for taken in [decision.taken(held[decision.group])] if decision.group in held else sets:
        for below in _below(decision, taken, path, held):
            yield {path: _value(decision, taken)} | below


def _below(decision: Decision, taken: Sequence[str], path: str, held: Mapping[str, Value]) -> Iterator[Point]:
    """Every joint point of the decisions that the options `taken` open."""
    if not taken:
        yield {}
        return
    for head in points(decision.options[taken[0]], f"{path}/{taken[0]}/", held):
        for tail in _below(decision, taken[1:], path, held):
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
