"""Pairs of parts that make no sense together, refused when a method is composed, in one line that names both.

A part says what it is in `traits`; a row here says which two traits do not go together, and why. A row of CAUTIONS is
allowed, and said once at the start of a search.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from ..errors import SupernetError
from .part import Part

__all__ = ["CAUTIONS", "REFUSED", "cautions", "check_pairs"]


@dataclass(frozen=True)
class Pair:
    """Two traits that do not go together."""

    one: str
    other: str
    why: str


REFUSED: tuple[Pair, ...] = (
    Pair("one path", "differentiates twice", "the response of operations that do not run is not known"),
    Pair("one path", "needs gradients of each operation", "most operations have none at most steps"),
    Pair("one path", "noise on p", "an operation that does not run stays out whatever its weight"),
    Pair("edge weights", "edge weights", "the edges of a node would be weighed twice"),
    Pair("weakens skips", "weakens skips", "the skip would be weakened twice"),
    Pair("no gradient of alphas", "regularises alphas", "no gradient moves the alphas, so nothing of it would be felt"),
    Pair("no gradient of alphas", "curvature", "the validation loss is not what the alphas go down"),
    Pair("draws without alphas", "learns alphas", "what runs does not depend on the alphas"),
)
CAUTIONS: tuple[Pair, ...] = (
    Pair("noise on p", "random draws", "the mixing weights have two kinds of noise"),
    Pair("weakens skips", "counts skips", "skips are weakened during the search, so their count means less"),
    Pair("edge weights", "measures removals", "an edge is taken away without weighing the others of its node anew"),
)


def check_pairs(parts: Mapping[str, Sequence[tuple[str, Part]]]) -> None:
    """`parts` has (name, part) by group; raises SupernetError for a pair that is refused."""
    for one, other, why in _pairs(parts, REFUSED):
        raise SupernetError(f"{one} does not go with {other}: {why}; leave one out")


def cautions(parts: Mapping[str, Sequence[tuple[str, Part]]]) -> list[str]:
    """A line for each pair that is allowed and may surprise."""
    return [f"{one} with {other}: {why}" for one, other, why in _pairs(parts, CAUTIONS)]


def _pairs(parts: Mapping[str, Sequence[tuple[str, Part]]], rows: Sequence[Pair]) -> Iterator[tuple[str, str, str]]:
    """(one part, another part, why) of the pairs to which a row applies; parts as the settings that name them."""
    named = [(f"method.{group}={name}", part) for group, members in parts.items() for name, part in members]
    for (one_name, one), (other_name, other) in permutations(named, 2):
        for pair in rows:
            if pair.one in one.traits and pair.other in other.traits:
                yield one_name, other_name, pair.why
