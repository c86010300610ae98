"""Whether a module has changed its input in place, while others still read it."""

from collections.abc import Sequence

from torch import Tensor

from ..errors import SupernetError

__all__ = ["refuse_in_place", "versions"]


def versions(inputs: Sequence[object]) -> list[int]:
    """How often each tensor, of any shape, has been written to; those made under inference mode do not tell."""
    return [t._version for t in inputs if isinstance(t, Tensor) and not t.is_inference()]


def refuse_in_place(inputs: Sequence[object], before: Sequence[int], what: str) -> None:
    """Raises SupernetError where the inputs were written to since `before`."""
    if versions(inputs) != before:
        raise SupernetError(f"{what} changes its input in place, which others still read; give it inplace=False")
