"""Neural architecture search with reinforcement learning (Zoph and Le, ICLR 2017, arXiv:1611.01578).

an LSTM of two layers reads what the choice before took and gives the probabilities of the next one
L = -(R - b) sum_t log pi(a_t) - beta sum_t H(pi_t),   b <- d b + (1 - d) R       REINFORCE with a moving baseline

35 units, weights drawn from U(-.08, .08), as in the paper, whose reward is the cube of an accuracy and whose rate is
6e-4 for 12,800 networks. For hundreds, rewards are ranks and the rate is larger (NAS-Bench-Macro, 10 runs: regret at
200 .004 with 5e-3, .023 with 1e-2; with 2e-2 it settles too early); beta is that of ENAS (Pham et al.,
arXiv:1802.03268), whose controller over shared weights is this one with another evaluator. A choice has an embedding
for each option and a layer to its logits of its own, so any tree serves.
"""

import random
from bisect import insort
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...counter import derive
from ...errors import SupernetError
from ...space import Genotype, Space
from ..sequence import choices_of, decide, every_choice
from ..strategy import STRATEGIES, Strategy, Vector
from .policy import Policy
from .rewards import REWARDS

__all__ = ["Controller"]


@STRATEGIES.register("nas_rl")
class Controller(Strategy):
    """`batch` networks are learned from at once; `reward` is a name of rewards.py."""

    name = "nas_rl"
    remembers = ("baseline", "waiting", "ordered")

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        units: int = 35,
        layers: int = 2,
        lr: float = 0.005,
        decay: float = 0.9,
        entropy: float = 0.01,
        batch: int = 5,
        reward: str = "rank",
    ) -> None:
        super().__init__(space, seed)
        for key, value in (("units", units), ("layers", layers), ("batch", batch)):
            if value < 1:
                raise SupernetError(f"strategy nas_rl: {key}={value} must be 1 or more")
        if lr <= 0 or not 0 <= decay < 1:
            raise SupernetError(f"strategy nas_rl: lr={lr} must be above 0, and decay={decay} in [0, 1)")
        self.reward, self.decay, self.entropy, self.batch = REWARDS[reward], decay, entropy, batch
        self.policy = Policy(every_choice(space.root), units, layers, derive(seed, "policy"))
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=lr)
        self.baseline: list[float] = []  # empty before the first reward
        self.waiting: list[tuple[Vector, float]] = []  # told and not learned from
        self.ordered: list[float] = []  # all scores, rising

    def propose(self, rng: random.Random) -> Genotype:
        token, memory = self.policy.nothing(), self.policy.begin()

        def choose(name: str, allowed: range) -> int:
            nonlocal token, memory
            weights, memory = self.policy.step(name, allowed, token, memory)
            option = rng.choices(allowed, weights)[0]
            token = self.policy.token(name, option)
            return option

        return self.space.genotype(decide(self.space.root, choose))

    def learn(self, vector: Vector, score: float) -> None:
        if score == float("-inf"):
            return
        insort(self.ordered, score)
        self.waiting.append((vector, score))
        if len(self.waiting) >= self.batch:
            self._step()

    def _step(self) -> None:
        self.optimizer.zero_grad()
        self.loss(self.waiting).backward()
        self.optimizer.step()
        self.waiting = []

    def loss(self, networks: list[tuple[Vector, float]]) -> Tensor:
        """The loss of some networks and their scores, a scalar; the baseline moves."""
        advantages = []
        for _, score in networks:
            reward = self.reward(score, self.ordered)
            old = self.baseline[0] if self.baseline else reward
            advantages.append(reward - old)
            self.baseline = [self.decay * old + (1 - self.decay) * reward]
        points = [choices_of(self.space.root, self.space.decode(vector).decisions) for vector, _ in networks]
        log_p, entropy = self.policy(points)
        return -(torch.tensor(advantages) * log_p + self.entropy * entropy).mean()

    def state_dict(self) -> dict[str, object]:
        return {**super().state_dict(), "policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        plain = {key: value for key, value in state.items() if key not in ("policy", "optimizer")}
        if len(plain) + 2 != len(state):
            raise SupernetError("state of strategy nas_rl lacks policy or optimizer")
        super().load_state_dict(plain)
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
