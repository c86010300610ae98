"""What every strategy must do: propose points of the space, go on from its state to the bit, and find what is there.

The tests go over the registry, so a new strategy is tested without a new test.
"""

import hashlib
import io
import random
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from supernet.errors import SupernetError
from supernet.space import Genotype, Space, get_space
from supernet.strategies import STRATEGIES, Strategy, make_strategy

NAMES = list(STRATEGIES)
SMALL: dict[str, dict[str, Any]] = {  # what makes a strategy learn within tens of points
    "genetic_cnn": {"population": 8}, "metaqnn": {"explore": 10, "each": 3, "replays": 30},
    "nas_rl": {"lr": 0.03, "batch": 4}, "gaussian_process": {"start": 6, "candidates": 20},
    "predictor": {"start": 6, "candidates": 20}, "regularised_evolution": {"population": 10, "sample": 4},
    "tournament": {"population": 10}, "local_search": {"start": 4}, "codeepneat": {"generation": 6},
}  # fmt: skip
SPACES = ("nas_bench_macro", "darts", "mobilenetv3_like", "grammar")
REFUSED = [("codeepneat", "grammar")]  # one decision at the root
MACRO = get_space("nas_bench_macro")


def chance(space: Space, genotype: Genotype) -> float:
    """A number in 0..1 that says nothing about the networks near it."""
    return int(hashlib.sha256(str(space.encode(genotype)).encode()).hexdigest()[:8], 16) / 2**32


def slope(space: Space, genotype: Genotype) -> float:
    """How near the point is to the one of all last options, with neighbouring layers that want to be alike."""
    vector = space.encode(genotype)
    alike = sum(one == other for one, other in pairwise(vector))
    return sum(at * value for at, value in enumerate(vector, 1)) + alike


def made(name: str, space: Space = MACRO, seed: int = 0) -> Strategy:
    return make_strategy(name, space, seed, **SMALL.get(name, {}))


def run(strategy: Strategy, score: Callable[[Space, Genotype], float], count: int) -> list[Genotype]:
    points = []
    for _ in range(count):
        for point in strategy.ask():
            strategy.tell(point, score(strategy.space, point))
            points.append(point)
    return points


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_proposals_are_points_of_any_space(name: str, space: str) -> None:
    """Also where decisions are conditional, and where many are asked before one is told."""
    tree = get_space(space)
    if (name, space) in REFUSED:
        with pytest.raises(SupernetError, match="strategy codeepneat.*take strategy=regularised_evolution") as error:
            made(name, tree)
        assert "\n" not in str(error.value)
        return
    strategy = made(name, tree)
    points = strategy.ask(7)
    for point in points:
        strategy.tell(point, chance(tree, point))
    points += run(strategy, chance, 12)
    assert len(points) == 19
    for point in points:
        tree.validate(point)


@pytest.mark.parametrize("at", [0, 3, 23])
@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_goes_on_from_its_state_to_the_bit(name: str, at: int) -> None:
    first = made(name)
    run(first, slope, at)
    waiting = first.ask(2)  # asked and not told yet
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = made(name)
    second.load_state_dict(torch.load(saved, weights_only=True))
    for strategy in (first, second):
        for point in waiting:
            strategy.tell(point, slope(MACRO, point))
    assert run(first, slope, 25) == run(second, slope, 25)


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_that_of_the_seed(name: str) -> None:
    one, same, other = (run(made(name, seed=seed), slope, 16) for seed in (0, 0, 1))
    assert one == same
    if name != "grid":
        assert one != other


def best_at(name: str, score: Callable[[Space, Genotype], float], seed: int, count: int) -> float:
    """The best score among the first `count` points that differ."""
    strategy, scores = made(name, seed=seed), dict[Genotype, float]()
    for _ in range(6 * count):
        if len(scores) == count:
            break
        for point in strategy.ask():
            scores[point] = score(MACRO, point)
            strategy.tell(point, scores[point])
    return max(scores.values())


@pytest.fixture(scope="module")
def by_chance() -> list[float]:
    return [best_at("random", slope, seed, 60) for seed in range(12)]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "grid")])
def test_what_learns_beats_chance(name: str, by_chance: list[float]) -> None:
    """On a landscape with a slope: the mean best of 60 points, by more than two standard errors of the difference."""
    found = [best_at(name, slope, seed, 60) for seed in range(6)]
    error = (statistics.variance(found) / len(found) + statistics.variance(by_chance) / len(by_chance)) ** 0.5
    assert statistics.mean(found) > statistics.mean(by_chance) + 2 * error


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_can_be_learned_nothing_is(name: str) -> None:
    """Scores that are chance: nobody may do better than chance does. The mean of a maximum of n is n / (n + 1)."""
    count, runs = 30, 6
    found = statistics.mean(best_at(name, chance, seed, count) for seed in range(runs))
    spread = (count / ((count + 1) ** 2 * (count + 2)) / runs) ** 0.5
    if name != "grid":  # its points are always the same
        assert abs(found - count / (count + 1)) < 4.5 * spread


def test_a_grid_has_every_point_once() -> None:
    space = get_space("grammar")
    strategy = make_strategy("grid", space)
    points = strategy.ask(space.size + 5)
    assert len(points) == space.size and points == list(space.points())
    assert strategy.ask() == []
    again = make_strategy("grid", space)
    again.load_state_dict({"proposed": 2000})
    assert again.ask(3) == points[2000:2003]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("regularized_evolution", {}, "did you mean 'regularised_evolution'"),
        ("random", {"sed": 1}, "argument of strategy=random: 'sed'"),
        ("regularised_evolution", {"sample": 30}, "sample=30 must lie in 1..population=20"),
        ("tournament", {"population": 1}, "population=1 must be 2 or more"),
        ("genetic_cnn", {"cross_pairs": 2.0}, "cross_pairs=2.0 is a probability"),
        ("metaqnn", {"lr": 0.0}, "lr=0.0 must be above 0"),
        ("nas_rl", {"reward": "cubed"}, "did you mean 'cube'"),
        ("gaussian_process", {"acquisition": "ei"}, "unknown acquisition 'ei'"),
        ("predictor", {"ridge": 0.0}, "ridge=0.0 must be above 0"),
        ("codeepneat", {"span": 8}, "takes the decisions at the root of a space apart"),
        ("local_search", {"start": 0}, "start=0 must be 1 or more"),
    ],
)
def test_a_mistake_is_one_line(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        make_strategy(name, MACRO, **settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_told() -> None:
    strategy = made("regularised_evolution")
    (point,) = strategy.ask()
    with pytest.raises(SupernetError, match="is NaN; tell a number"):
        strategy.tell(point, float("nan"))
    with pytest.raises(SupernetError, match="state of strategy regularised_evolution lacks members"):
        strategy.load_state_dict({"proposed": 1})
    with pytest.raises(SupernetError, match="unknown state of strategy random: 'members'"):
        made("random").load_state_dict(strategy.state_dict())
    with pytest.raises(SupernetError, match="at least one point"):
        strategy.ask(0)


def test_failed_points_stop_nobody() -> None:
    for name in NAMES:
        strategy = made(name)
        for number in range(20):
            for point in strategy.ask():
                strategy.tell(point, float("-inf") if number % 2 else random.Random(number).random())
