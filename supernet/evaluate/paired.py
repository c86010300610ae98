"""Differences between two rows of scores that were taken in pairs, with their interval.

    d_s = one_s - other_s        mean d +- t(n - 1) * s_d / sqrt(n)        Student's t, two-sided, 95 %

A pair shares what is not under test, here the seed: data order, splits, the draw of the random cells. The interval is
that of one comparison: of twenty of them one leaves out 0 by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from ..errors import SupernetError

__all__ = ["LEVEL", "Difference", "paired"]

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of `pairs` differences and its interval [low, high]; None where one pair has no spread to tell it."""

    mean: float
    low: float | None
    high: float | None
    pairs: int
    maximise: bool = True  # whether a larger score is better

    @property
    def verdict(self) -> str:
        """better, worse, within noise (the interval covers 0) or, without an interval, one pair."""
        if self.low is None or self.high is None:
            return "one pair, no interval"
        if self.low <= 0 <= self.high:
            return "within noise"
        return "better" if (self.mean > 0) == self.maximise else "worse"


def paired(one: Sequence[float], other: Sequence[float], *, maximise: bool = True, level: float = LEVEL) -> Difference:
    """The differences `one` - `other` of n pairs each, n at least 1; `level` in (0, 1) is that of the interval."""
    if len(one) != len(other) or not one:
        raise SupernetError(f"{len(one)} scores and {len(other)} make no pairs")
    differences = [a - b for a, b in zip(one, other, strict=True)]
    mean, n = fmean(differences), len(differences)
    if n == 1:
        return Difference(mean, None, None, n, maximise)
    from scipy.stats import t  # a second to import

    half = float(t.ppf((1 + level) / 2, n - 1)) * stdev(differences) / sqrt(n)
    return Difference(mean, mean - half, mean + half, n, maximise)
