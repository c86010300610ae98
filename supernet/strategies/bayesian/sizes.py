"""How many values each place of a space's flat vector has."""

from collections.abc import Sequence

from ...space.decision import Decision, KOf, walk

__all__ = ["place_sizes"]


def place_sizes(decisions: Sequence[Decision]) -> list[int]:
    """The number of values of each place, without that of a closed one; 2 for each item of a k_of."""
    sizes: list[int] = []
    for _, decision in walk(decisions):
        count = len(decision.options)
        sizes += [2] * count if isinstance(decision, KOf) else [count]
    return sizes
