"""Random search: every point is equally likely (Bergstra, Bengio, JMLR 13, 2012; Li, Talwalkar, arXiv:1902.07638).

The yardstick of every other strategy: what does not beat it has learned nothing.
"""

import random

from ..space import Genotype
from .strategy import STRATEGIES, Strategy, Vector

__all__ = ["RandomSearch"]


@STRATEGIES.register("random")
class RandomSearch(Strategy):
    """Uniform over the points of the tree, with repetition."""

    name = "random"

    def propose(self, rng: random.Random) -> Genotype:
        return self.space.sample(rng)

    def learn(self, vector: Vector, score: float) -> None:
        """Nothing is learned."""
