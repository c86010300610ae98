"""Paired differences, controls of equal size, and the signs of collapse."""

import json
import random
from pathlib import Path

import pytest
from scipy import stats

from supernet.errors import SupernetError
from supernet.evaluate.controls import Draws
from supernet.evaluate.paired import Difference, paired
from supernet.evaluate.signatures import signatures
from supernet.space import Genotype, get_space


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    rng = random.Random(0)
    one, other = [rng.gauss(0.9, 0.02) for _ in range(7)], [rng.gauss(0.88, 0.02) for _ in range(7)]
    found = paired(one, other)
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    # By hand: differences 1, 2, 3; t(2) at 97.5 % is 4.302653.
    found = paired([2, 4, 6], [1, 2, 3])
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))


@pytest.mark.parametrize(
    ("one", "other", "maximise", "verdict"),
    [
        ([3, 3.1, 3.2], [1, 1, 1], True, "better"),
        ([3, 3.1, 3.2], [1, 1, 1], False, "worse"),
        ([1, 1, 1], [3, 3.1, 3.2], True, "worse"),
        ([1, 5, 3], [2, 2, 2], True, "within noise"),
        ([2, 2], [2, 2], True, "within noise"),
        ([3], [1], True, "one pair, no interval"),
    ],
)
def test_the_verdict(one: list[float], other: list[float], maximise: bool, verdict: str) -> None:
    assert paired(one, other, maximise=maximise).verdict == verdict


def test_touching_zero_is_noise_and_pairs_are_needed() -> None:
    assert Difference(1.0, 0.0, 2.0, 3).verdict == "within noise"
    with pytest.raises(SupernetError, match="2 scores and 1 make no pairs"):
        paired([1, 2], [1])


def size(point: Genotype) -> int:
    """Stands for parameters: a convolution has 9, an average pool 1."""
    return sum({"nor_conv_3x3": 9, "avg_pool_3x3": 1}.get(str(op), 0) for op in point.decisions.values())


def test_controls_are_the_first_draws_of_equal_size() -> None:
    space = get_space("nasbench201", operations=["none", "avg_pool_3x3", "nor_conv_3x3"])
    draws, rng, seen, sequence = Draws(space, 3, size, most=400), random.Random(3), set[str](), list[Genotype]()
    for _ in range(400):
        point = space.sample(rng)
        if space.canonical(point) not in seen and not space.dead(point):
            seen.add(space.canonical(point))
            sequence.append(point)
    for wanted in (36, 20, 36):  # whatever was asked for before
        fitting = [point for point in sequence if abs(size(point) - wanted) <= 0.1 * wanted]
        found = draws.matching(wanted, 4, 0.1)
        assert found.points == tuple(fitting[:4]) and not found.shortfall
    assert draws.matching(36, 0, 0.1).draws == 0


def test_too_few_of_equal_size_are_told() -> None:
    space = get_space("nasbench201", operations=["avg_pool_3x3", "nor_conv_3x3"])
    found = Draws(space, 0, size, most=300, admits=lambda point: size(point) != 46).matching(54, 5, 0.15)
    assert found.shortfall == "1 of 5 random cells within 15 % of its 54 parameters after 300 draws"
    assert {size(point) for point in found.points} == {54}


def test_signatures_are_read_epoch_by_epoch(tmp_path: Path) -> None:
    rows = [
        {"epoch": 0, "train/loss": 1.0},
        {"epoch": 0, "epoch/train/loss": 1.0, "genotype/skip_share": 0.25, "alpha/mean_entropy": 1.5,
         "alpha/skip_share/normal": 0.2, "alpha/skip_share/reduce": 0.4, "genotype/hash": "a"},
        {"epoch": 1, "epoch/train/loss": 1.0, "genotype/skip_share": 0.5, "method/eigenvalue": 3.0},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(signatures(tmp_path)) == [
        (1, {"genotype_skips": 0.25, "entropy": 1.5, "mixing_skips": pytest.approx(0.3)}),
        (2, {"genotype_skips": 0.5, "eigenvalue": 3.0}),
    ]
    assert list(signatures(tmp_path / "nowhere")) == []
