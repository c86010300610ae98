"""Random points of equal size, the control of every search: what chance finds at the same parameters.

Each seed has one fixed sequence of points, drawn uniformly over the space; dead ones and networks that came before are
left out. The controls of an architecture are the first of that sequence whose parameters lie within the tolerance of
its own (rejection sampling). So they do not depend on what else is compared, and architectures of one size share them.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import SupernetError
from ..space import Genotype, Space

__all__ = ["Controls", "Draws"]


@dataclass(frozen=True)
class Controls:
    """Random points for an architecture; fewer than were asked for where the draws gave no more."""

    points: tuple[Genotype, ...]
    asked: int
    draws: int  # how many points were looked at
    size: int  # parameters of the architecture
    tolerance: float  # the share of `size` by which theirs may differ

    @property
    def shortfall(self) -> str:
        """Why there are fewer than were asked for, in words; "" where there are not."""
        if len(self.points) == self.asked:
            return ""
        within = f"within {100 * self.tolerance:g} % of its {self.size:,} parameters"
        return f"{len(self.points)} of {self.asked} random cells {within} after {self.draws:,} draws"


class Draws:
    """The sequence of one seed, drawn as far as it is needed and at most `most` points long."""

    def __init__(
        self,
        space: Space,
        seed: int,
        parameters: Callable[[Genotype], int],
        *,
        most: int,
        admits: Callable[[Genotype], bool] = lambda point: True,
    ) -> None:
        """`parameters` counts those of a point's network; points that `admits` refuses are left out."""
        if most < 1:
            raise SupernetError(f"draws={most} must be 1 or more")
        self._space, self._parameters, self._admits, self._most = space, parameters, admits, most
        self._drawn: list[tuple[Genotype, int] | None] = []  # None: dead, equal to an earlier one, or not admitted
        self._rng, self._seen = random.Random(seed), set[str]()

    def matching(self, size: int, count: int, tolerance: float) -> Controls:
        """The first `count` points whose parameters differ from `size` by at most the share `tolerance`."""
        points: list[Genotype] = []
        draws = 0
        sequence = self._sequence()
        while len(points) < count and draws < self._most:
            drawn, draws = next(sequence), draws + 1
            if drawn is not None and abs(drawn[1] - size) <= tolerance * size:
                points.append(drawn[0])
        return Controls(tuple(points), count, draws, size, tolerance)

    def _sequence(self) -> Iterator[tuple[Genotype, int] | None]:
        for number in range(self._most):
            if number == len(self._drawn):
                self._drawn.append(self._draw())
            yield self._drawn[number]

    def _draw(self) -> tuple[Genotype, int] | None:
        point = self._space.sample(self._rng)
        network = self._space.canonical(point)
        if network in self._seen or self._space.dead(point) or not self._admits(point):
            return None
        self._seen.add(network)
        return point, self._parameters(point)
