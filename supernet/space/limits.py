"""Limits on the numbers that a space or a network is told: a genotype file may come from a stranger."""

from collections.abc import Sequence

from ..arguments import MOST_SIZE
from ..errors import SupernetError

__all__ = ["check_options", "check_sizes"]

MOST_OPTIONS = 32


def check_sizes(**sizes: int) -> None:
    """Raises SupernetError for a size of a network, such as channels=32, outside 1..4096."""
    for name, size in sizes.items():
        if not 1 <= size <= MOST_SIZE:
            raise SupernetError(f"network {name}={size} must lie in 1..{MOST_SIZE}")


def check_options(most: float = MOST_SIZE, **options: Sequence[float]) -> None:
    """Raises SupernetError unless each argument of a space, as depths=(2, 3), is a list of numbers in (0, most]."""
    for name, values in options.items():
        good = isinstance(values, list | tuple) and 1 <= len(values) <= MOST_OPTIONS
        if not good or not all(
            isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= most for v in values
        ):
            raise SupernetError(
                f"space argument {name}={str(values)[:80]} must be a list of 1 to {MOST_OPTIONS} numbers above 0 and "
                f"at most {most}"
            )
