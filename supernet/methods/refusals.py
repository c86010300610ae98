"""Pairs of parts that make no sense together, refused when a method is composed, in one line that names both.

A part says what it is in `traits`; a row here says which two traits do not go together, and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from ..errors import SupernetError
from .part import Part

__all__ = ["REFUSED", "check_pairs"]


@dataclass(frozen=True)
class Pair:
    """Two traits that do not go together."""

    one: str
    other: str
    why: str


REFUSED: tuple[Pair, ...] = (
    Pair("one path", "differentiates twice", "the response of operations that do not run is not known"),
    Pair("edge weights", "edge weights", "the edges of a node would be weighed twice"),
    Pair("weakens skips", "weakens skips", "the skip would be weakened twice"),
)


def check_pairs(parts: Mapping[str, Sequence[tuple[str, Part]]]) -> None:
    """`parts` has (name, part) by group; raises SupernetError for a pair that is refused."""
    named = [(group, name, part) for group, members in parts.items() for name, part in members]
    for (group, name, part), (other_group, other_name, other) in permutations(named, 2):
        for pair in REFUSED:
            if pair.one in part.traits and pair.other in other.traits:
                raise SupernetError(
                    f"method.{group}={name} does not go with method.{other_group}={other_name}: {pair.why}; "
                    "leave one out"
                )
