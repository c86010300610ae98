"""Numbers that change over the epochs of a search: in a straight line, or by the same factor from epoch to epoch."""

from typing import Literal, TypeAlias

from .part import Clock

__all__ = ["Ramp", "line", "ramp", "share"]

Ramp: TypeAlias = Literal["line", "exponential"]


def share(clock: Clock) -> float:
    """How far a search has come: 0 in its first epoch, 1 in its last; 0 where there is only one."""
    return clock.epoch / max(clock.epochs - 1, 1)


def line(first: float, last: float, clock: Clock) -> float:
    """first + (last - first) e / (T - 1) in epoch e of T."""
    return first + (last - first) * share(clock)


def ramp(first: float, last: float, clock: Clock, form: str = "line") -> float:
    """`line`, or of the form "exponential", for numbers above 0: first (last / first)^(e / (T - 1))."""
    return line(first, last, clock) if form == "line" else first * (last / first) ** share(clock)
