"""Regularised evolution: the oldest dies, not the worst (Real, Aggarwal, Huang, Le, AAAI 2019, arXiv:1802.01548).

the population is a queue of the last P points; the first P are random
parent <- the best of S members drawn with replacement;   child <- a mutation of it;   the oldest leaves

An individual that was lucky once does not stay for ever, so only what scores well again and again is inherited. A
mutation is a random neighbour on the tree. The authors have P=100, S=25 for 20,000 evaluations; P=20, S=5 suits
hundreds.
"""

import random

from ...errors import SupernetError
from ...space import Genotype, Space
from ..strategy import STRATEGIES, Member, Strategy, Vector, best_of

__all__ = ["RegularisedEvolution"]


@STRATEGIES.register("regularised_evolution")
class RegularisedEvolution(Strategy):
    """`population` (P) and `sample` (S) are 1 or more, S at most P."""

    name = "regularised_evolution"
    remembers = ("members",)

    def __init__(self, space: Space, seed: int = 0, population: int = 20, sample: int = 5) -> None:
        super().__init__(space, seed)
        if not 1 <= sample <= population:
            raise SupernetError(
                f"strategy regularised_evolution: sample={sample} must lie in 1..population={population}"
            )
        self.population, self.sample = population, sample
        self.members: list[Member] = []  # the oldest first

    def propose(self, rng: random.Random) -> Genotype:
        if self.proposed < self.population or not self.members:
            return self.space.sample(rng)
        parent, _ = best_of([rng.choice(self.members) for _ in range(self.sample)])
        return self.mutated(parent, rng)

    def learn(self, vector: Vector, score: float) -> None:
        self.members.append((vector, score))
        del self.members[: -self.population]
