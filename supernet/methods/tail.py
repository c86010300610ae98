"""The last epochs of a stage, counted in the same way by its schedule and by the parts that act in them."""

__all__ = ["tail"]


def tail(epochs: int, part: float) -> int:
    """How many of `epochs` the last `part` of them is, `part` in [0, 1]; at least one."""
    return max(1, round(part * epochs))
