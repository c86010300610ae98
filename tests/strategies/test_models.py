"""The numbers inside of strategies: the controller's gradient, rewards, Q values, intervals, counts of modules."""

import random

import numpy as np
import pytest
import torch

from supernet.space import get_space
from supernet.strategies import make_strategy
from supernet.strategies.bayesian.gaussian_process import GaussianProcess, expected_improvement
from supernet.strategies.evolution.coevolution import Coevolution
from supernet.strategies.reinforcement.controller import Controller
from supernet.strategies.reinforcement.q_learning import QLearning
from supernet.strategies.reinforcement.rewards import REWARDS, last_window_cubed
from supernet.strategies.sequence import choices_of

MACRO = get_space("nas_bench_macro")
CONDITIONAL = get_space("grammar")


def controller(space: str = "grammar") -> Controller:
    found = make_strategy("nas_rl", get_space(space), units=5)
    assert isinstance(found, Controller)
    found.policy.double()
    return found


def test_the_controllers_gradient_by_differences() -> None:
    strategy = controller()
    strategy.reward, strategy.baseline = REWARDS["none"], [0.3]
    networks = [(tuple(CONDITIONAL.encode(CONDITIONAL.sample(random.Random(i)))), 0.2 * i) for i in range(4)]

    def loss() -> torch.Tensor:
        strategy.baseline = [0.3]
        return strategy.loss(networks)

    loss().backward()
    rng = np.random.default_rng(0)
    for weight in strategy.policy.parameters():
        flat = weight.data.view(-1)
        for at in rng.integers(0, flat.numel(), 3):
            value, sides = float(flat[at]), []
            for shift in (1e-5, -1e-5):
                flat[at] = value + shift
                sides.append(float(loss().detach()))
            flat[at] = value
            assert weight.grad is not None
            assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(float(weight.grad.view(-1)[at]), rel=1e-5, abs=1e-8)


def test_draws_follow_the_probabilities_of_the_network() -> None:
    """Step by step in numpy, or a whole sequence in torch: one number. All points together have probability 1."""
    strategy = controller()
    policy = strategy.policy
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(8)
    points = list(CONDITIONAL.points())
    sequences = [choices_of(CONDITIONAL.root, point.decisions) for point in points]
    log_p, entropy = (found.detach() for found in policy(sequences))
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-10)
    for number in range(0, len(points), 500):
        token, memory, total, bits = policy.nothing(), policy.begin(), 0.0, 0.0
        for step in sequences[number]:
            weights, memory = policy.step(step.name, step.allowed, token, memory)
            total += float(np.log(weights[step.taken - step.allowed.start]))
            bits -= float(np.sum(np.array(weights) * np.log(weights)))
            token = policy.token(step.name, step.taken)
        assert total == pytest.approx(float(log_p[number]), abs=1e-10)
        assert bits == pytest.approx(float(entropy[number]), abs=1e-10)


def test_rewards_of_a_history_by_hand() -> None:
    assert last_window_cubed([0.9, 0.1, 0.2, 0.5, 0.3, 0.4]) == pytest.approx(0.125)
    assert REWARDS["cube"](0.5, []) == 0.125 and REWARDS["none"](0.5, []) == 0.5
    assert [REWARDS["rank"](score, [1.0, 2.0, 4.0]) for score in (1.0, 2.0, 4.0)] == [0.0, 0.5, 1.0]


def test_q_values_by_hand() -> None:
    strategy = make_strategy("metaqnn", MACRO, lr=0.5, replays=0, first=0.5)
    assert isinstance(strategy, QLearning)
    vector = (1, 2, 0, 0, 0, 0, 0, 1)
    strategy._update(vector, 1.0)
    last = strategy.q["blocks/7 after 0"]
    assert last == [0.5, 0.75, 0.5]  # half the way from .5 to the reward
    assert strategy.q["blocks/6 after 0"] == [0.625, 0.5, 0.5]  # half the way from .5 to the best of what follows
    assert strategy.q["blocks/0"][1] == pytest.approx(0.5 + 0.25 / 2**7)


def test_epsilon_falls_in_steps() -> None:
    strategy = make_strategy("metaqnn", MACRO, explore=3, each=2)
    assert isinstance(strategy, QLearning)
    steps = []
    for _ in range(24):
        steps.append(round(strategy.epsilon(), 3))
        strategy.ask()
    assert steps[:7] == [1.0, 1.0, 1.0, 0.9, 0.9, 0.8, 0.8] and steps[-1] == 0.1


def smooth(vector: tuple[int, ...]) -> float:
    return sum(np.sin(1.0 + at + value) for at, value in enumerate(vector)) + 0.3 * vector[0] * vector[1]


def test_intervals_of_the_process_cover_what_they_should() -> None:
    """90 % intervals hold 80 to 97 % of points that were not told."""
    strategy = make_strategy("gaussian_process", MACRO, start=2)
    assert isinstance(strategy, GaussianProcess)
    rng = random.Random(0)
    points = [tuple(MACRO.encode(MACRO.sample(rng))) for _ in range(260)]
    noise = np.random.default_rng(0).normal(0, 0.3, len(points))
    scores = [smooth(vector) + float(e) for vector, e in zip(points, noise, strict=True)]
    for vector, score in zip(points[:60], scores[:60], strict=True):
        strategy.learn(vector, score)
    mean, deviation = strategy.predict(points[60:])
    covered = np.abs(mean - np.array(scores[60:])) < 1.645 * deviation
    assert 0.80 <= covered.mean() <= 0.97


def test_expected_improvement_by_a_sum_over_draws() -> None:
    mean, deviation = np.array([0.0, 0.5, 2.0]), np.array([1.0, 0.1, 0.5])
    draws = np.random.default_rng(0).normal(size=(400_000, 1)) * deviation + mean
    gains = np.maximum(draws - 0.4, 0)
    found = expected_improvement(mean, deviation, 0.4)
    assert np.all(np.abs(found - gains.mean(0)) < 4 * gains.std(0) / len(draws) ** 0.5)


def test_a_modules_fitness_is_the_mean_of_its_networks() -> None:
    strategy = make_strategy("codeepneat", MACRO, blueprints=4, modules=3, generation=1000)
    assert isinstance(strategy, Coevolution)
    used: dict[int, list[float]] = {}
    for number in range(30):
        (point,) = strategy.ask()
        plan = strategy.pending[-1][1]
        for module in set(plan):
            used.setdefault(module, []).append(float(number))
        strategy.tell(point, float(number))
    for module, scores in used.items():
        _, _, total, uses = strategy.parts[str(module)]
        assert (total, uses) == (sum(scores), len(scores))
    assert not strategy.pending


def test_a_generation_keeps_the_better_modules() -> None:
    strategy = make_strategy("codeepneat", MACRO, blueprints=4, modules=4, generation=12)
    assert isinstance(strategy, Coevolution)
    for _ in range(12):
        (point,) = strategy.ask()
        strategy.tell(point, float(sum(MACRO.encode(point))))
    ranked = sorted(strategy.parts, key=lambda number: -strategy.parts[number][2] / max(strategy.parts[number][3], 1))
    strategy.ask()
    assert set(ranked[:2]) <= set(strategy.parts)
    assert not set(ranked[2:]) & set(strategy.parts), "the worse half has given way to copies"
    assert all(str(module) in strategy.parts for (plan, *_) in strategy.plans for module in plan)


def test_slots_of_two_layers_share_their_modules() -> None:
    strategy = make_strategy("codeepneat", MACRO)
    assert isinstance(strategy, Coevolution)
    assert len(strategy.slots) == 4
    names = [[decision.name for decision in slot] for slot in strategy.slots]
    assert names == [[f"blocks/{2 * i}", f"blocks/{2 * i + 1}"] for i in range(4)]
