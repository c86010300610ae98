"""Pairwise tournaments: the loser dies, the winner has a child (Real et al., ICML 2017, arXiv:1703.01041).

two random individuals of the population; the worse is removed; the better stays, and a mutated copy of it joins

The selection of large-scale evolution by itself, on any space; there many workers do this side by side on one
population, without waiting for each other.
"""

import random

from ...errors import SupernetError
from ...space import Genotype, Space
from ..strategy import STRATEGIES, Member, Strategy, Vector

__all__ = ["Tournament"]


@STRATEGIES.register("tournament")
class Tournament(Strategy):
    """`population`, 2 or more, is what begins, at random; 1,000 in the paper."""

    name = "tournament"
    remembers = ("members",)

    def __init__(self, space: Space, seed: int = 0, population: int = 20) -> None:
        super().__init__(space, seed)
        if population < 2:
            raise SupernetError(f"strategy tournament: population={population} must be 2 or more")
        self.population = population
        self.members: list[Member] = []

    def propose(self, rng: random.Random) -> Genotype:
        if self.proposed < self.population or not self.members:
            return self.space.sample(rng)
        if len(self.members) == 1:  # the others are still out to be scored
            return self.mutated(self.members[0][0], rng)
        one, other = rng.sample(self.members, 2)
        winner, loser = (one, other) if one[1] >= other[1] else (other, one)
        self.members.remove(loser)
        return self.mutated(winner[0], rng)

    def learn(self, vector: Vector, score: float) -> None:
        self.members.append((vector, score))
