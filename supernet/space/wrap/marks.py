"""An alternative that remembers what it is called in a file: {kernel: 5} for `kernel(5)`."""

from collections.abc import Callable
from typing import TypeVar

__all__ = ["WRITTEN", "written"]

A = TypeVar("A", bound=Callable[..., object])
WRITTEN = "written_as"


def written(adapt: A, **data: object) -> A:
    """`adapt`, which remembers the name and the argument that made it."""
    setattr(adapt, WRITTEN, data)
    return adapt
