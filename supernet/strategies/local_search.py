"""Local search: the neighbours of the best point so far, then of the next best (White et al., arXiv:2005.02960).

x <- a random point;   score the neighbours of x in a random order;   the first better one becomes x
a point none of whose neighbours is better is a local optimum: begin anew from another random point
"""

import random
from itertools import islice

from ..errors import SupernetError
from ..space import Genotype, Space
from .strategy import STRATEGIES, Strategy, Vector

__all__ = ["LocalSearch"]


@STRATEGIES.register("local_search")
class LocalSearch(Strategy):
    """`start` random points are drawn first, and the best of them is where it begins.

    `most` neighbours of a point are looked at before it counts as an optimum; needed where there are very many.
    """

    name = "local_search"
    remembers = ("centre", "height", "left", "drawn", "known")

    def __init__(self, space: Space, seed: int = 0, start: int = 10, most: int = 500) -> None:
        super().__init__(space, seed)
        for key, value in (("start", start), ("most", most)):
            if value < 1:
                raise SupernetError(f"strategy local_search: {key}={value} must be 1 or more")
        self.start, self.most = start, most
        self.centre: Vector = ()  # the point whose neighbours are looked at
        self.height = float("-inf")  # its score
        self.left: list[Vector] = []  # its neighbours that were not proposed yet
        self.drawn = 0  # random points since the last optimum
        self.known: list[Vector] = []  # optima, and where they were left

    def propose(self, rng: random.Random) -> Genotype:
        if self.drawn < self.start or not self.centre:
            self.drawn += 1
            return self.space.sample(rng)
        if not self.left:
            if self.known and self.known[-1] == self.centre:  # all of its neighbours have been told: an optimum
                self.centre, self.height, self.drawn = (), float("-inf"), 1
                return self.space.sample(rng)
            self._surround(rng)
        return self.space.decode(self.left.pop())

    def _surround(self, rng: random.Random) -> None:
        point = self.space.decode(self.centre)
        neighbours = [tuple(self.space.encode(other)) for other in islice(self.space.neighbours(point), self.most)]
        rng.shuffle(neighbours)
        self.left = neighbours or [self.centre]
        self.known.append(self.centre)

    def learn(self, vector: Vector, score: float) -> None:
        if score > self.height:
            self.centre, self.height, self.left = vector, score, []
