"""What a cost depends on besides the architecture: the input's shape and the network's arguments, checked."""
# B batch, C channels, H height, W width

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments import check_arguments
from ..errors import SupernetError
from ..network.macro import macro_of
from ..space import SPACES, Genotype, Space, space_of
from .part import Shape

__all__ = ["complete", "input_shape", "space_for"]

IMAGE = (3, 32, 32)


def space_for(genotype: Genotype, space: Space | None) -> Space:
    """The space that `genotype` is a point of: the one given, else the registered one of its name."""
    if not isinstance(genotype, Genotype):
        raise SupernetError(f"a cost is that of a Genotype, not {genotype!r:.60}; use published(name) or Genotype.load")
    if space is None:
        if genotype.space not in SPACES:
            raise SupernetError(f"space {genotype.space[:60]!r} is not registered; give space=Space(Net) too")
        return space_of(genotype)
    space.validate(genotype)
    return space


def input_shape(image: Sequence[int], batch: int = 1) -> Shape:
    """[B, C, H, W] of images of the shape `image`, (C, H, W)."""
    sizes = tuple(image)
    if not sizes or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in (*sizes, batch)):
        raise SupernetError(f"image={sizes} and batch={batch} must be whole numbers of 1 or more, image (C, H, W)")
    return (batch, *sizes)


def complete(space: Space, arguments: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The discrete network's arguments with its defaults; channels of the image where the network asks for them."""
    discrete = macro_of(space).discrete
    check_arguments(discrete, arguments, f"the {space.name!r} network")
    found = inspect.signature(discrete).parameters.values()
    defaults = {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY}
    given = dict(arguments)
    if "in_chans" in defaults:
        given.setdefault("in_chans", shape[1])
    if given.get("in_chans", shape[1]) != shape[1]:
        raise SupernetError(f"in_chans={given['in_chans']} and an image of {shape[1]} channels do not fit")
    return defaults | given
