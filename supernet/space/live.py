"""The best architecture in the neighbourhood of a dead one, whose output its input does not reach."""

from collections.abc import Callable, Iterable
from math import log

from .genotype import Genotype
from .space import Space, Strengths

__all__ = ["live_neighbour", "log_strength"]

MOST_CHANGES = 4  # decisions; a dead cell of NAS-Bench-201 needs one: an edge from its input to its output
WIDTH = 64  # the strongest dead points from which the search for a live one goes on, a round
LEAST = 1e-30  # strengths below count as this one: of 0 there is no logarithm


def live_neighbour(
    space: Space, genotype: Genotype, strengths: Strengths, dead: Callable[[Genotype], str] | None = None
) -> Genotype | None:
    """The strongest live point within few changes of `genotype`, by the fewest changes; None where there is none.

    `strengths` is [E][O] a table. A live genotype is its own. Of equals the first in the order of the space. `dead`
    says why a point is dead, "" where it is not; None: as the space itself knows it.
    """
    dead = dead or space.dead
    if not dead(genotype):
        return genotype
    front, seen = [genotype], {genotype}
    for _ in range(MOST_CHANGES):
        near = [point for place in front for point in space.neighbours(place)]
        fresh = list(dict.fromkeys(point for point in near if point not in seen))
        seen |= set(fresh)
        if live := [point for point in fresh if not dead(point)]:
            return _strongest(space, live, strengths)[0]
        front = _strongest(space, fresh, strengths)[:WIDTH]
    return None


def log_strength(space: Space, genotype: Genotype, strengths: Strengths) -> float:
    """The sum of the logarithms of what `genotype` runs, under strengths [E][O] a table."""
    active = space.active(genotype)
    return sum(
        log(max(strengths[table.name][row][column], LEAST))
        for table in space.tables
        for row, column in active[table.name]
    )


def _strongest(space: Space, genotypes: Iterable[Genotype], strengths: Strengths) -> list[Genotype]:
    return sorted(genotypes, key=lambda genotype: -log_strength(space, genotype, strengths))
