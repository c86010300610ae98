"""A child of two points: each decision from one parent or the other, where both are open."""

import random
from collections.abc import Mapping, Sequence

from ...space.decision import Decision, Value
from ...space.points import Point

__all__ = ["crossed"]


def crossed(
    decisions: Sequence[Decision],
    one: Mapping[str, Value],
    other: Mapping[str, Value],
    share: float,
    rng: random.Random,
) -> Point:
    """`one`, in which each decision that both have open is that of `other` with probability `share`.

    What a decision opens comes from the parent that has it open; from both again where both do. Decisions of one group
    come from one parent. So the child is a point, whatever the tree.
    """
    point: Point = {}
    _cross(decisions, one, other, share, rng, "", {}, point)
    return point


def _cross(
    decisions: Sequence[Decision],
    one: Mapping[str, Value],
    other: Mapping[str, Value],
    share: float,
    rng: random.Random,
    prefix: str,
    groups: dict[str, Value],
    point: Point,
) -> None:
    for decision in decisions:
        path = prefix + decision.name
        if decision.group in groups:
            value = groups[decision.group]
        elif path in one and path in other:
            value = other[path] if rng.random() < share else one[path]
        else:
            value = one[path] if path in one else other[path]
        if decision.group:
            groups[decision.group] = value
        point[path] = value
        for option in decision.taken(value):
            _cross(decision.options[option], one, other, share, rng, f"{path}/{option}/", groups, point)
