"""Exact counts over a decision tree and uniform sampling from them.

The number of points below a k_of is the elementary symmetric polynomial e_k of its items' sizes:
e_k(s_1..s_n) = e_k(s_2..s_n) + s_1 e_{k-1}(s_2..s_n). Sampling weighs each branch by its count, so that every point of
the space, and not every decision, is equally likely; the arithmetic is on whole numbers, without rounding.
"""

import random
from collections.abc import Sequence
from math import prod

from .decision import Decision, Integer, KOf, Value, elementary

__all__ = ["sample", "size"]


def size(decisions: Sequence[Decision]) -> int:
    """The number of points below `decisions`."""
    return prod(d.points for d in decisions)


def sample(decisions: Sequence[Decision], rng: random.Random, prefix: str = "") -> dict[str, Value]:
    """A point drawn uniformly: path to value, for the decisions that are open."""
    point: dict[str, Value] = {}
    for decision in decisions:
        path = prefix + decision.name
        weights = [size(below) for below in decision.options.values()]
        names = list(decision.options)
        if isinstance(decision, KOf):
            taken = tuple(names[i] for i in _draw_items(weights, decision.k, rng))
            point[path] = taken
        else:
            chosen = names[_draw_one(weights, rng)]
            taken = (chosen,)
            point[path] = int(chosen) if isinstance(decision, Integer) else chosen
        for name in taken:
            point.update(sample(decision.options[name], rng, f"{path}/{name}/"))
    return point


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
