"""A point as a sequence of choices, for strategies that decide one thing after the other.

The decisions of the tree are visited from the root down, parents before what they open. A one_of and an integer are one
choice; a k_of is k choices of items in rising order, each among those that leave enough behind them, so every set of
items has one sequence. Decisions of a group are one choice, made where the group is met first. Closed decisions are no
choices, so a sequence never holds an inactive one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..space.decision import Decision, KOf, Value, walk
from ..space.points import Point, value_of

__all__ = ["Choose", "Step", "choices_of", "decide", "every_choice"]

Choose = Callable[[str, range], int]  # (name of the choice, the options allowed) -> the option taken


class Step(NamedTuple):
    """One choice of a sequence: its name, the options that were allowed, and the one taken, as indices."""

    name: str
    allowed: range
    taken: int


def decide(decisions: Sequence[Decision], choose: Choose) -> Point:
    """The point that `choose` decides."""
    point: Point = {}
    _decide(decisions, choose, "", {}, point)
    return point


def _decide(
    decisions: Sequence[Decision], choose: Choose, prefix: str, held: dict[str, tuple[str, ...]], point: Point
) -> None:
    for decision in decisions:
        path = prefix + decision.name
        options = held.get(decision.group)
        if options is None:
            options = _options(decision, path, choose)
            if decision.group:
                held[decision.group] = options
        point[path] = value_of(decision, options)
        for option in options:
            _decide(decision.options[option], choose, f"{path}/{option}/", held, point)


def _options(decision: Decision, path: str, choose: Choose) -> tuple[str, ...]:
    names, k = list(decision.options), decision.k if isinstance(decision, KOf) else 1
    taken: list[str] = []
    first = 0
    for number in range(k):
        allowed = range(first, len(names) - (k - number - 1))
        at = choose(_name(decision, path, number, k), allowed) if len(allowed) > 1 else allowed[0]
        taken.append(names[at])
        first = at + 1
    return tuple(taken)


def _name(decision: Decision, path: str, number: int, k: int) -> str:
    name = decision.group or path
    return f"{name}#{number}" if k > 1 else name


def choices_of(decisions: Sequence[Decision], point: Mapping[str, Value]) -> list[Step]:
    """The sequence of a valid `point`."""
    steps: list[Step] = []
    wanted: dict[str, int] = {}  # name of a choice -> what it takes
    for path, decision in walk(decisions):
        if path in point:
            names = list(decision.options)
            taken = [names.index(option) for option in decision.taken(point[path])]
            k = len(taken)
            wanted |= {_name(decision, path, number, k): at for number, at in enumerate(taken)}

    def choose(name: str, allowed: range) -> int:
        steps.append(Step(name, allowed, wanted[name]))
        return wanted[name]

    decide(decisions, choose)
    return steps


def every_choice(decisions: Sequence[Decision]) -> dict[str, int]:
    """Name -> number of options, of every choice that some point makes, in the order of the tree."""
    names: dict[str, int] = {}
    for path, decision in walk(decisions):
        k = decision.k if isinstance(decision, KOf) else 1
        for number in range(k):
            if len(decision.options) > k or (k == 1 and len(decision.options) > 1):
                names.setdefault(_name(decision, path, number, k), len(decision.options))
    return names
