"""Grid search: every point once, in the fixed order of the tree. For spaces that are small."""

import random
from itertools import islice

from ..space import Genotype
from .strategy import STRATEGIES, Strategy, Vector

__all__ = ["Grid"]


@STRATEGIES.register("grid")
class Grid(Strategy):
    """Ends with the last point. Going on from a state walks past the points before it."""

    name = "grid"

    def propose(self, rng: random.Random) -> Genotype | None:
        at = getattr(self, "_at", None)
        if at is None or at[0] != self.proposed:  # the first time, and after a state was loaded
            at = (self.proposed, islice(self.space.points(), self.proposed, None))
        point = next(at[1], None)
        self._at = (self.proposed + 1, at[1])
        return point

    def learn(self, vector: Vector, score: float) -> None:
        """Nothing is learned."""
