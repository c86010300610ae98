"""Whether weights are those of a network, by their names and shapes: known before either takes memory."""

from collections.abc import Mapping, Sequence

from ..errors import short

__all__ = ["Shapes", "difference"]

Shapes = Mapping[str, Sequence[int]]  # of each tensor by its name


def difference(network: Shapes, weights: Shapes, free: Sequence[str] = ()) -> str | None:
    """The first tensor that the two do not share, with its shape in both; None where they fit.

    Names that begin with an entry of `free` are not compared.
    """
    for name in sorted(network.keys() | weights.keys()):
        here, there = network.get(name), weights.get(name)
        same = here is not None and there is not None and tuple(here) == tuple(there)
        if not same and not name.startswith(tuple(free)):
            sizes = ["none" if shape is None else list(shape) for shape in (here, there)]
            return f"{short(name, 80)!r} is {sizes[0]} in the network and {sizes[1]} in the weights"
    return None
