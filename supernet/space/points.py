"""The points of a decision tree: how many, drawn, listed, one decision apart, and as flat vectors.

Exact counts. The number of points below a k_of is the elementary symmetric polynomial e_k of its items' sizes:
e_k(s_1..s_n) = e_k(s_2..s_n) + s_1 e_{k-1}(s_2..s_n). Sampling weighs each branch by its count, so that every point of
the space, and not every decision, is equally likely; the arithmetic is on whole numbers, without rounding.

Neighbours. A neighbour changes one open decision: another option, one item swapped for another, another number. What
the change opens anew takes every value it can, so that being neighbours is symmetric; what it opens again under another
path, such as the blocks that two depths have in common, stays as it is.

Vectors. Every decision of the tree has its places, open or not: a one_of the index of its option, a k_of a 0 or 1 for
each item, an integer the index of its value. Places of closed decisions hold -1, so all vectors have one length.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from types import MappingProxyType

from ..errors import SupernetError
from .decision import Decision, Integer, KOf, Value, elementary, walk

__all__ = [
    "Point", "decode", "encode", "every_point", "neighbours", "random_neighbour", "sample", "size", "value_of",
]  # fmt: skip

Point = dict[str, Value]  # path -> value, of the decisions that are open
_NONE: Mapping[str, Value] = MappingProxyType({})


def size(decisions: Sequence[Decision], held: Mapping[str, Value] = _NONE) -> int:
    """The number of points below `decisions`, where the decisions of the groups `held` are fixed."""
    if not held:
        return prod(decision.points for decision in decisions)
    return prod(_size_of(decision, held) for decision in decisions)


def _size_of(decision: Decision, held: Mapping[str, Value]) -> int:
    if decision.group in held:
        return prod(size(decision.options[option], held) for option in decision.taken(held[decision.group]))
    sizes = [size(below, held) for below in decision.options.values()]
    return elementary(sizes, decision.k)[0] if isinstance(decision, KOf) else sum(sizes)


def sample(
    decisions: Sequence[Decision], rng: random.Random, prefix: str = "", held: Mapping[str, Value] = _NONE
) -> Point:
    """A point drawn uniformly; the decisions of the groups `held` are fixed."""
    point: Point = {}
    for decision in decisions:
        path = prefix + decision.name
        options = _draw_options(decision, rng, held)
        point[path] = value_of(decision, options)
        for option in options:
            point.update(sample(decision.options[option], rng, f"{path}/{option}/", held))
    return point


def _draw_options(decision: Decision, rng: random.Random, held: Mapping[str, Value]) -> tuple[str, ...]:
    if decision.group in held:
        return decision.taken(held[decision.group])
    names = list(decision.options)
    weights = [size(below, held) for below in decision.options.values()]
    if isinstance(decision, KOf):
        return tuple(names[i] for i in _draw_items(weights, decision.k, rng))
    return (names[_draw_one(weights, rng)],)


def _draw_one(weights: Sequence[int], rng: random.Random) -> int:
    ticket = rng.randrange(sum(weights))
    for i, weight in enumerate(weights):
        ticket -= weight
        if ticket < 0:
            return i
    raise AssertionError("unreachable: the ticket is below the sum of the weights")


def _draw_items(weights: Sequence[int], k: int, rng: random.Random) -> list[int]:
    tails = [elementary(weights, j) for j in range(k + 1)]
    items: list[int] = []
    for i, weight in enumerate(weights):
        left = k - len(items)
        if left and rng.randrange(tails[left][i]) < weight * tails[left - 1][i + 1]:
            items.append(i)
    return items


def every_point(decisions: Sequence[Decision], prefix: str = "", held: Mapping[str, Value] = _NONE) -> Iterator[Point]:
    """Every point below `decisions`, lazily, in a fixed order; the decisions of the groups `held` are fixed."""
    if not decisions:
        yield {}
        return
    first, rest = decisions[0], decisions[1:]
    for head in _points_of(first, prefix, held):
        for tail in every_point(rest, prefix, held):
            yield head | tail


def _points_of(decision: Decision, prefix: str, held: Mapping[str, Value]) -> Iterator[Point]:
    path, names = prefix + decision.name, list(decision.options)
    sets = combinations(names, decision.k) if isinstance(decision, KOf) else ((name,) for name in names)
    for options in [decision.taken(held[decision.group])] if decision.group in held else sets:
        for below in _below(decision, options, path, held):
            yield {path: value_of(decision, options)} | below


def _below(decision: Decision, options: Sequence[str], path: str, held: Mapping[str, Value]) -> Iterator[Point]:
    """Every joint point of the decisions that `options` open."""
    if not options:
        yield {}
        return
    for head in every_point(decision.options[options[0]], f"{path}/{options[0]}/", held):
        for tail in _below(decision, options[1:], path, held):
            yield head | tail


def neighbours(decisions: Sequence[Decision], point: Mapping[str, Value]) -> Iterator[Point]:
    """Every point that differs from `point` in one open decision and what hangs below it, lazily, in a fixed order."""
    held = _held(decisions, point)
    for path, decision in _open(decisions, point):
        options = decision.taken(point[path])
        for closed, opened in _changes(decision, options):
            same = _without(point, f"{path}/{closed}/") | {path: _swapped(decision, options, closed, opened)}
            for below in every_point(decision.options[opened], f"{path}/{opened}/", held):
                yield same | below


def random_neighbour(decisions: Sequence[Decision], point: Mapping[str, Value], rng: random.Random) -> Point | None:
    """One of the `neighbours` of `point`, without listing them; None where there is none.

    Each open decision that has a change is equally likely, then each of its changes, then each way to decide what the
    change opens: a neighbour has the probability 1 / (decisions * changes * ways).
    """
    movable = [
        (path, decision)
        for path, decision in _open(decisions, point)
        if len(decision.taken(point[path])) < len(decision.options)
    ]
    if not movable:
        return None
    path, decision = rng.choice(movable)
    options = decision.taken(point[path])
    closed = rng.choice(options)
    opened = rng.choice([name for name in decision.options if name not in options])
    below = sample(decision.options[opened], rng, f"{path}/{opened}/", _held(decisions, point))
    return _without(point, f"{path}/{closed}/") | {path: _swapped(decision, options, closed, opened)} | below


def _held(decisions: Sequence[Decision], point: Mapping[str, Value]) -> dict[str, Value]:
    """Group -> its value, for groups of which a decision is open: under another path it stays what it is."""
    return {decision.group: point[path] for path, decision in walk(decisions) if decision.group and path in point}


def _open(
    decisions: Sequence[Decision], point: Mapping[str, Value], prefix: str = ""
) -> Iterator[tuple[str, Decision]]:
    """The open decisions with their paths, parents first."""
    for decision in decisions:
        path = prefix + decision.name
        yield path, decision
        for option in decision.taken(point[path]):
            yield from _open(decision.options[option], point, f"{path}/{option}/")


def _without(point: Mapping[str, Value], branch: str) -> Point:
    return {path: value for path, value in point.items() if not path.startswith(branch)}


def _changes(decision: Decision, options: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(option that closes, option that opens) for each single change of what has taken `options`."""
    for closed in options:
        for opened in decision.options:
            if opened not in options:
                yield closed, opened


def _swapped(decision: Decision, options: tuple[str, ...], closed: str, opened: str) -> Value:
    remaining = {*options, opened} - {closed}
    return value_of(decision, tuple(name for name in decision.options if name in remaining))


def value_of(decision: Decision, options: tuple[str, ...]) -> Value:
    """The value of `decision` that takes these options, in the order of its options."""
    if isinstance(decision, KOf):
        return options
    return int(options[0]) if isinstance(decision, Integer) else options[0]


def encode(decisions: Sequence[Decision], point: Mapping[str, Value]) -> list[int]:
    """The flat vector of a valid `point`."""
    vector: list[int] = []
    for path, decision in walk(decisions):
        names = list(decision.options)
        if isinstance(decision, KOf):
            value = point.get(path)
            vector += [-1] * len(names) if value is None else [int(n in decision.taken(value)) for n in names]
        else:
            vector.append(names.index(str(point[path])) if path in point else -1)
    return vector


def decode(decisions: Sequence[Decision], vector: Sequence[int]) -> Point:
    """The point of a flat `vector`; raises SupernetError where it is not the encoding of a point."""
    if any(isinstance(v, bool) or not isinstance(v, int) for v in vector):
        raise SupernetError("an encoded point is a sequence of whole numbers")
    numbers = list(vector)
    point, used = _decode(decisions, numbers, 0, "", True)
    if used != len(numbers):
        raise SupernetError(f"an encoded point of this space has {used} numbers, not {len(numbers)}")
    return point


def _decode(decisions: Sequence[Decision], vector: list[int], at: int, prefix: str, is_open: bool) -> tuple[Point, int]:
    """The point of the numbers from place `at` on, and the place behind them."""
    point: Point = {}
    for decision in decisions:
        path, names = prefix + decision.name, list(decision.options)
        width = len(names) if isinstance(decision, KOf) else 1
        places = vector[at : at + width]
        if len(places) < width:
            raise SupernetError(f"an encoded point ends before decision {path!r}")
        at += width
        options: tuple[str, ...] = ()
        if is_open:
            point[path] = value = _read(decision, names, places, path)
            options = decision.taken(value)
        elif any(place != -1 for place in places):
            raise SupernetError(f"decision {path!r} is closed, so its places must hold -1, not {places}")
        for option, below in decision.options.items():
            deeper, at = _decode(below, vector, at, f"{path}/{option}/", option in options)
            point |= deeper
    return point, at


def _read(decision: Decision, names: list[str], places: list[int], path: str) -> Value:
    if isinstance(decision, KOf):
        if any(place not in (0, 1) for place in places) or sum(places) != decision.k:
            raise SupernetError(f"decision {path!r}: {places} must hold {decision.k} ones among zeros")
        return tuple(name for name, place in zip(names, places, strict=True) if place)
    if not 0 <= places[0] < len(names):
        raise SupernetError(f"decision {path!r}: {places[0]} must lie in 0..{len(names) - 1}")
    return int(names[places[0]]) if isinstance(decision, Integer) else names[places[0]]
