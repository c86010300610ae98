"""The lines of a comparison against numbers computed by hand, and how they are written."""

import pytest

from supernet.stages.compare.scores import Score
from supernet.stages.compare.summary import Found, RowResult, entries
from supernet.stages.compare.tables import as_markdown

T2 = 4.302652729911275  # Student's t of 2 degrees of freedom at 97.5 %


def found(value: float, *random: float, parameters: int = 100) -> Found:
    cells = tuple(Score(score, parameters + 10, seconds=2.0) for score in random)
    return Found(Score(value, parameters, seconds=5.0), 7.0, cells)


METHODS = {
    "first": {0: found(0.9, 0.7, 0.8, 0.1), 1: found(0.8, 0.6, 0.9, 0.5), 2: found(0.7, 0.5, 0.5, 0.8)},
    "second": {0: found(0.5, 0.6), 2: found(0.4, 0.6, 0.2)},  # at seed 1 its search failed
    "third": {},  # all of its failed
}
CELL = {"printed": {seed: Score(0.6, 50) for seed in range(3)}}


def test_lines_by_hand() -> None:
    first, second, printed = entries(METHODS, CELL, maximise=True)
    assert (first.mean, first.spread, first.best) == pytest.approx((0.8, 0.1, 0.9))
    assert (first.search_seconds, first.retrain_seconds) == (21.0, 15.0)
    assert (first.random_median, first.random_best) == pytest.approx(((0.7 + 0.6 + 0.5) / 3, (0.8 + 0.9 + 0.8) / 3))
    assert (first.parameters, first.random_parameters) == (100, 110)
    assert first.to_first is None and first.to_random is not None
    # Differences to the medians .7, .6, .5: .2, .2, .2, up to rounding.
    assert (first.to_random.mean, first.to_random.low) == pytest.approx((0.2, 0.2)) and first.to_random.pairs == 3
    assert first.to_random.verdict == "better"
    assert second.to_random is not None and second.to_random.mean == pytest.approx((-0.1 + 0.0) / 2)
    assert second.to_random.verdict == "within noise"
    assert second.to_first is not None and (second.to_first.mean, second.to_first.pairs) == (pytest.approx(-0.35), 2)
    # .6 - .9, .6 - .8, .6 - .7: mean -.2, deviation .1.
    assert printed.to_first is not None and printed.to_random is None
    half = T2 * 0.1 / 3**0.5
    assert (printed.to_first.low, printed.to_first.high) == pytest.approx((-0.2 - half, -0.2 + half))
    assert (printed.kind, printed.to_first.verdict) == ("published", "within noise")


def test_smaller_is_better() -> None:
    first, second, _ = entries(METHODS, CELL, maximise=False)
    assert (first.best, first.random_best) == pytest.approx((0.7, (0.1 + 0.5 + 0.5) / 3))
    assert first.to_random is not None and first.to_random.verdict == "worse"
    assert second.to_first is not None and second.to_first.verdict == "within noise"


def test_the_first_method_may_have_failed() -> None:
    (second,) = entries({"first": {}, "second": METHODS["second"]}, {}, maximise=True)
    assert second.to_first is None and second.to_random is not None
    assert entries({"first": {}}, {}, maximise=True) == ()


def test_the_table_says_what_is_noise_and_what_a_best_is() -> None:
    lines = entries(METHODS, CELL, maximise=True)
    text = as_markdown([RowResult("wide", "darts", "test/top1", True, 3, lines, {"seeds": "0 1 2"}, ("a | note",))])
    assert "## wide: space darts" in text and "larger is better. seeds 0 1 2." in text and "- a | note" in text
    row = next(line for line in text.splitlines() if line.startswith("| second |"))
    assert "| 0.4500 | 0.0707 | 0.5000 (best of 2) | 100 (random 110) | 0.5000 | 0.6000 |" in row
    assert "-0.0500 [-0.6853, +0.5853] **within noise**" in row
    assert row.count("|") == next(line for line in text.splitlines() if line.startswith("|  | mean")).count("|")
