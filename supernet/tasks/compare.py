"""Which of two values of a metric is better, where either may not be a number."""

from collections.abc import Mapping
from math import isfinite, isnan, nan

__all__ = ["beats", "finite", "rank"]


def finite(metrics: Mapping[str, object], name: str) -> float:
    """The metric `name`; NaN where it, or any other of the validation part, is not finite.

    A network whose outputs are NaN still has a share of right answers: those of class 0.
    """
    values = [value for key, value in metrics.items() if key.startswith("val/") and isinstance(value, int | float)]
    value = metrics[name]
    return float(value) if isinstance(value, int | float) and all(map(isfinite, values)) else nan


def rank(value: float, maximise: bool) -> float:
    """A number by which values of a metric are sorted, the best one last; what is not a number comes first."""
    if isnan(value):
        return float("-inf")
    return value if maximise else -value


def beats(value: float, best: float, maximise: bool, *, ties: bool = False) -> bool:
    """Whether `value` is better than `best`, or with `ties` as good. NaN beats nothing, and every number beats NaN."""
    if isnan(value):
        return False
    if isnan(best):
        return True
    better = value > best if maximise else value < best
    return better or (ties and value == best)
