"""What a controller learns from a score, by name.

none    the score itself
cube    score^3, which tells apart what is near the best (Zoph and Le, arXiv:1611.01578, for accuracies in 0..1)
rank    the share of the scores so far that are lower, in 0..1: scores of any scale
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from ...registry import Registry

__all__ = ["REWARDS", "last_window_cubed"]

Reward = Callable[[float, Sequence[float]], float]  # (score, all scores so far in rising order) -> reward
REWARDS: Registry[Reward] = Registry("reward")


@REWARDS.register("none")
def itself(score: float, ordered: Sequence[float]) -> float:
    """The score itself."""
    return score


@REWARDS.register("cube")
def cubed(score: float, ordered: Sequence[float]) -> float:
    """The cube of the score, which should lie in 0..1."""
    return score**3


@REWARDS.register("rank")
def ranked(score: float, ordered: Sequence[float]) -> float:
    """The share of the scores so far that are lower."""
    return bisect_left(ordered, score) / max(len(ordered) - 1, 1)


def last_window_cubed(history: Sequence[float], window: int = 5) -> float:
    """The cube of the best of the last `window` validation accuracies (0..1), the reward of Zoph and Le."""
    return max(history[-window:]) ** 3
