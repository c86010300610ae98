"""What searches without gradients: a strategy proposes points of a space and is told how good they are.

strategy = make_strategy("regularised_evolution", get_space("nas_bench_macro"), seed=0, population=20)
for genotype in strategy.ask(4):
    strategy.tell(genotype, score)        larger is better
state = strategy.state_dict()             plain values; an equal strategy goes on from them to the bit

A strategy knows its space and what it was told, and nothing of how points are scored. Chance is counted: proposal
number i draws from a generator of (seed, name, i), so the state holds a count and no generator. Any number of points
may be asked before one of them is told, and points that were not asked may be told.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ..arguments import check_arguments
from ..counter import derive
from ..errors import SupernetError, unknown
from ..registry import Registry
from ..space import Genotype, Space

__all__ = ["STRATEGIES", "Member", "Strategy", "Vector", "best_of", "make_strategy"]

Vector = tuple[int, ...]  # a point as `Space.encode` gives it
Member = tuple[Vector, float]  # (point, score)
STRATEGIES: Registry[type["Strategy"]] = Registry("strategy")


class Strategy(ABC):
    """Proposes points of `space`; `seed` is the beginning of all its chance.

    A subclass says in `remembers` which of its attributes are its state: numbers, texts, and lists, tuples and mappings
    of them.
    """

    name: ClassVar[str] = ""
    remembers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space, self.seed = space, seed
        self.proposed = 0  # points, the count of all chance

    def ask(self, count: int = 1) -> list[Genotype]:
        """The next `count` points to score; fewer, or none, where the strategy has no more."""
        if count < 1:
            raise SupernetError(f"ask({count}): at least one point is asked for")
        points: list[Genotype] = []
        while len(points) < count:
            rng = random.Random(derive(self.seed, self.name, self.proposed))
            point = self.propose(rng)
            if point is None:
                break
            self.proposed += 1
            points.append(point)
        return points

    def tell(self, genotype: Genotype, score: float) -> None:
        """`score`, larger is better, is what `genotype` has reached; raises SupernetError for NaN."""
        if score != score:
            raise SupernetError(
                f"tell: the score of genotype {genotype.hash} is NaN; tell a number, or -inf where it has failed"
            )
        self.learn(tuple(self.space.encode(genotype)), float(score))

    @abstractmethod
    def propose(self, rng: random.Random) -> Genotype | None:
        """One more point, drawn with `rng`; None where there is none."""

    @abstractmethod
    def learn(self, vector: Vector, score: float) -> None:
        """Takes what a point has reached into account."""

    def state_dict(self) -> dict[str, object]:
        """All that changes, as plain values."""
        return {"proposed": self.proposed, **{name: _plain(getattr(self, name)) for name in self.remembers}}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes on from `state`; raises SupernetError where it is that of another strategy."""
        expected = ("proposed", *self.remembers)
        for key in state:
            if key not in expected:
                raise SupernetError(unknown(f"state of strategy {self.name}:", key, expected))
        if missing := [key for key in expected if key not in state]:
            raise SupernetError(f"state of strategy {self.name} lacks {', '.join(missing)}")
        for key in expected:
            setattr(self, key, _thawed(state[key]))

    def mutated(self, vector: Vector, rng: random.Random) -> Genotype:
        """A random neighbour of the point `vector`; itself where it has none."""
        point = self.space.decode(vector)
        try:
            return self.space.random_neighbour(point, rng)
        except SupernetError:
            return point


def make_strategy(name: str, space: Space, seed: int = 0, **settings: object) -> Strategy:
    """The strategy of a registered name; raises SupernetError for unknown names and impossible settings."""
    strategy = STRATEGIES[name]
    check_arguments(strategy, {"seed": seed, **settings}, f"strategy={name}")
    return strategy(space, seed, **settings)


def best_of(members: Sequence[Member]) -> Member:
    """The member of the highest score; of equals the first. Raises SupernetError where there is none."""
    if not members:
        raise SupernetError("no point has been told yet")
    return max(members, key=lambda member: member[1])


def _plain(value: object) -> object:
    """Tuples as lists, so that JSON gives back what was saved."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _thawed(value: object) -> object:
    """Lists within lists as tuples, as points are; an outer list stays a list, to which more may be added."""
    if isinstance(value, Mapping):
        return {key: _thawed(entry) for key, entry in value.items()}
    return [_frozen(entry) for entry in value] if isinstance(value, list) else value


def _frozen(value: object) -> object:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value
