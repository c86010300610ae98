"""Numbers that change over the epochs of a search, in a straight line."""

from .part import Clock

__all__ = ["line", "share"]


def share(clock: Clock) -> float:
    """How far a search has come: 0 in its first epoch, 1 in its last; 0 where there is only one."""
    return clock.epoch / max(clock.epochs - 1, 1)


def line(first: float, last: float, clock: Clock) -> float:
    """first + (last - first) e / (T - 1) in epoch e of T."""
    return first + (last - first) * share(clock)
