"""Genetic CNN: generations, selection by a roulette wheel, crossover and mutation (Xie and Yuille, arXiv:1703.01513).

selection:  N individuals drawn with replacement, with probability proportional to r_n - r_min
crossover:  a pair of neighbours, with probability p_C, exchanges each decision with probability q_C
mutation:   an individual that was not crossed, with probability p_M, changes each decision with probability q_M

The authors cross stages of bits and flip bits; here the unit is a decision of the tree, changed to a random neighbour.
Their numbers: N=20, p_C=.2, q_C=.3, p_M=.8, q_M=.1 (.05 on CIFAR-10). A generation begins when the one before is told.
"""

import random

from ...errors import SupernetError
from ...space import Genotype, Space
from ..strategy import STRATEGIES, Member, Strategy, Vector
from .crossing import crossed

__all__ = ["Genetic"]


@STRATEGIES.register("genetic_cnn")
class Genetic(Strategy):
    """`population` is N; the others are probabilities."""

    name = "genetic_cnn"
    remembers = ("members", "next_ones")

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        population: int = 20,
        cross_pairs: float = 0.2,
        cross_decisions: float = 0.3,
        mutate_members: float = 0.8,
        mutate_decisions: float = 0.1,
    ) -> None:
        super().__init__(space, seed)
        if population < 2:
            raise SupernetError(f"strategy genetic_cnn: population={population} must be 2 or more")
        shares = {"cross_pairs": cross_pairs, "cross_decisions": cross_decisions, "mutate_members": mutate_members,
                  "mutate_decisions": mutate_decisions}  # fmt: skip
        for key, value in shares.items():
            if not 0 <= value <= 1:
                raise SupernetError(f"strategy genetic_cnn: {key}={value} is a probability, from 0 to 1")
        self.population, self.shares = population, shares
        self.members: list[Member] = []  # of the generation that is being told
        self.next_ones: list[Vector] = []  # of the next one, those that were not proposed yet

    def propose(self, rng: random.Random) -> Genotype:
        if self.proposed < self.population or not (self.next_ones or self.members):
            return self.space.sample(rng)
        if not self.next_ones:
            self._breed(rng)
        return self.space.decode(self.next_ones.pop(0))

    def _breed(self, rng: random.Random) -> None:
        """The next generation out of the best told so far of this one."""
        lowest = min(score for _, score in self.members)
        weights = [score - lowest for _, score in self.members]
        vectors = [vector for vector, _ in self.members]
        parents = rng.choices(vectors, weights if sum(weights) > 0 else None, k=self.population)
        self.next_ones = []
        for one, other in zip(parents[::2], parents[1::2] or parents[:1], strict=False):
            if rng.random() < self.shares["cross_pairs"]:
                self.next_ones += [self._child(one, other, rng), self._child(other, one, rng)]
            else:
                self.next_ones += [self._mutant(one, rng), self._mutant(other, rng)]
        self.members = []

    def _child(self, one: Vector, other: Vector, rng: random.Random) -> Vector:
        root, share = self.space.root, self.shares["cross_decisions"]
        points = [self.space.decode(vector).decisions for vector in (one, other)]
        return tuple(self.space.encode(self.space.genotype(crossed(root, points[0], points[1], share, rng))))

    def _mutant(self, vector: Vector, rng: random.Random) -> Vector:
        if rng.random() >= self.shares["mutate_members"]:
            return vector
        count = sum(rng.random() < self.shares["mutate_decisions"] for _ in self.space.decode(vector).decisions)
        for _ in range(count):
            vector = tuple(self.space.encode(self.mutated(vector, rng)))
        return vector

    def learn(self, vector: Vector, score: float) -> None:
        self.members.append((vector, score))
