"""MetaQNN: Q-learning over the sequence of decisions (Baker, Gupta, Naik, Raskar, ICLR 2017, arXiv:1611.02167).

state: the choice ahead and what the choice before took        action: what this choice takes
Q(s, a) <- (1 - lr) Q(s, a) + lr max_a' Q(s', a')      the last choice of a network: its reward in place of max Q
epsilon falls in steps from 1 to .1: the paper takes 1,500 networks at 1 and 100 to 150 at each of .9, .8, ... .1

After each network `replays` of those before are learned from once more, each sequence from its end. The paper's Q
begins at .5, its lr is .01 and its replays are 100. Accuracies of one space lie close together, so a reward is the
share of the networks so far that are worse: else the Q of what was never tried decides. Hundreds of networks take a
larger lr and a shorter schedule (NAS-Bench-Macro, 40 runs: regret at 200 and 400 .144 and .086 with lr=.1, .178 and
.093 with .05).
"""

import random

from ...errors import SupernetError
from ...space import Genotype, Space
from ..sequence import choices_of, decide
from ..strategy import STRATEGIES, Member, Strategy, Vector
from .rewards import ranked

__all__ = ["QLearning"]

Turn = tuple[str, int, range, int]  # (state, options, allowed, taken)


@STRATEGIES.register("metaqnn")
class QLearning(Strategy):
    """`explore` networks are drawn at epsilon 1, then `each` at each of .9, .8, ... .1."""

    name = "metaqnn"
    remembers = ("q", "networks", "told")

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        explore: int = 30,
        each: int = 12,
        replays: int = 100,
        lr: float = 0.1,
        first: float = 0.5,
        capacity: int = 2000,
    ) -> None:
        super().__init__(space, seed)
        for key, value in (("explore", explore), ("each", each), ("capacity", capacity)):
            if value < 1:
                raise SupernetError(f"strategy metaqnn: {key}={value} must be 1 or more")
        if not 0 < lr <= 1:
            raise SupernetError(f"strategy metaqnn: lr={lr} must be above 0 and at most 1")
        self.explore, self.each, self.replays, self.lr = explore, each, replays, lr
        self.first, self.capacity = first, capacity
        self.q: dict[str, list[float]] = {}  # state -> the value of each option
        self.networks: list[Member] = []  # the replay memory, at most `capacity`
        self.told = 0
        self._memory: dict[Vector, list[Turn]] = {}  # what _steps has found, to find it once

    def epsilon(self) -> float:
        """The share of random choices now."""
        past = self.proposed - self.explore
        return 1.0 if past < 0 else max(0.1, 0.9 - 0.1 * (past // self.each))

    def propose(self, rng: random.Random) -> Genotype:
        epsilon, last = self.epsilon(), ""

        def choose(name: str, allowed: range) -> int:
            nonlocal last
            values = self.q.get(_state(name, last))
            if values is None or rng.random() < epsilon:
                taken = rng.choice(allowed)
            else:
                best = max(values[at] for at in allowed)
                taken = rng.choice([at for at in allowed if values[at] == best])
            last = f"{taken}"
            return taken

        return self.space.genotype(decide(self.space.root, choose))

    def learn(self, vector: Vector, score: float) -> None:
        self.networks.append((vector, score))
        del self.networks[: -self.capacity]
        self.told += 1
        if score == float("-inf"):
            return
        rng = random.Random(self.told)  # counted by what was told: the order of replays is in the state
        ordered = sorted(known for _, known in self.networks if known > float("-inf"))
        again = [self.networks[rng.randrange(len(self.networks))] for _ in range(self.replays)]
        for network, reached in [*again, (vector, score)]:
            if reached > float("-inf"):
                self._update(network, ranked(reached, ordered))

    def _update(self, vector: Vector, reward: float) -> None:
        steps = self._steps(vector)
        ahead = reward
        for state, size, allowed, taken in reversed(steps):
            values = self.q.setdefault(state, [self.first] * size)
            values[taken] += self.lr * (ahead - values[taken])
            ahead = max(values[at] for at in allowed)

    def _steps(self, vector: Vector) -> list[Turn]:
        """(state, options, allowed, taken) of each choice of a network."""
        memory = self._memory
        if vector not in memory:
            last, steps = "", []
            for step in choices_of(self.space.root, self.space.decode(vector).decisions):
                steps.append((_state(step.name, last), step.allowed.stop, step.allowed, step.taken))
                last = f"{step.taken}"
            if len(memory) > 2 * self.capacity:
                memory.clear()
            memory[vector] = steps
        return memory[vector]


def _state(name: str, last: str) -> str:
    return f"{name} after {last}" if last else name
