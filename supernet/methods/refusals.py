"""Pairs of parts that make no sense together, refused when a method is composed, in one line that names both.

A part says what it is in `traits`, and the name of its group is one more; a row here says which two do not go together,
and why. A row of CAUTIONS is allowed, and said once at the start of a search.
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
    Pair("one path", "second derivatives", "the response of operations that do not run is not known"),
    Pair("one path", "needs gradients of p", "the gradient by the weight of what does not run is not known"),
    Pair("floods", "follows the sign of gradients", "below the level the gradients of the loss change their sign"),
    Pair("floods", "needs gradients of each operation", "below the level the gradients of the loss change their sign"),
    Pair("weakens skips", "weakens skips", "the skip would be weakened twice"),
    Pair("no gradient of alphas", "regularises alphas", "no gradient moves the alphas, so nothing of it would be felt"),
    Pair("no gradient of alphas", "curvature", "the validation loss is not what the alphas go down"),
    Pair("goes back", "stops", "two parts would decide when the search ends"),
    Pair("goes back", "goes back", "two parts would decide where the search goes on from"),
    Pair("pairs of edges", "fixes edges", "the edges of a node would be chosen twice"),
    Pair("pairs of edges", "takes the largest", "edges are chosen in pairs then, by method.selector=edge_pairs"),
    Pair("splits", "splits", "the children of one would take the place of the other's"),
    Pair("splits", "stops", "a stop in one child would end the search before the others"),
    Pair("splits", "goes back", "what a child changes would hold for the others"),
    Pair("splits", "stages", "the children take the place of the stages that are planned"),
    Pair("splits", "selects in rounds", "the children take the place of the phase for a selection"),
    Pair("trains nothing", "learns alphas", "no step would be taken"),
    Pair("draws without alphas", "learns alphas", "what runs does not depend on the alphas"),
    Pair("draws without alphas", "curvature", "no loss bends with alphas that play no part"),
    Pair("draws without alphas", "regularises alphas", "what runs does not depend on the alphas"),
    Pair("shared slices", "needs gradients of each operation", "operations have no weights of their own"),
    Pair("shared slices", "groups weights", "a slice that sizes share belongs to no operation"),
    Pair("shared slices", "splits", "a slice that sizes share belongs to no operation, so to no child"),
    Pair("one level", "perturbation", "alphas and weights learn from one pass, which would be the perturbed one"),
    Pair("one level", "curvature", "there is no validation loss that bends with the alphas"),
    Pair("one level", "needs gradients of p", "alphas and weights learn from one pass, which must reach the alphas"),
    Pair("several passes", "perturbation", "only the first of the passes would be perturbed"),
    Pair("several passes", "needs gradients of p", "only the first of the passes would have them"),
    Pair("any real weight", "rows are distributions", "a term for distributions, and the rows do not sum to 1"),
    Pair("any real weight", "row entropy", "the rows do not sum to 1 and have no entropy"),
    Pair("sparse code", "regularises alphas", "its weights may be negative, and no probabilities"),
    Pair("sparse code", "random draws", "its weights may be negative, and no probabilities"),
    Pair("sparse code", "takes the largest", "its weights may be negative, which method.selector=support heeds"),
    Pair("weights themselves", "rows are distributions", "a term for logits, and the alphas are the weights"),
    Pair("simplex", "steps off the simplex", "the alphas are distributions, and would be none after a step"),
    Pair("steps on the simplex", "logits", "the step keeps rows that sum to 1, and the alphas are logits"),
    Pair("steps on the simplex", "edge weights", "the step keeps rows that sum to 1, and edges have logits"),
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
    named = [
        (f"method.{group}={name}", part.traits | {group}) for group, members in parts.items() for name, part in members
    ]
    for (one_name, one), (other_name, other) in permutations(named, 2):
        for pair in rows:
            if pair.one in one and pair.other in other:
                yield one_name, other_name, pair.why
