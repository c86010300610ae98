"""The discrete network of a genotype by the macro structure of its space."""

import inspect
from collections.abc import Mapping

from torch import nn

from ...arguments import check_arguments
from ...space.genotype import Genotype
from ...space.space import Space
from ..bounded import bounded
from ..seeding import seeded
from .registry import macro_of

__all__ = ["build_from", "shared_arguments"]


def build_from(space: Space, genotype: Genotype, /, *, seed: int | None = None, **arguments: object) -> nn.Module:
    """The network of `genotype`, a point of `space`."""
    space.validate(genotype)
    macro = macro_of(space)
    check_arguments(macro.discrete, arguments, f"the {space.name!r} network")
    with seeded(seed), bounded(space):
        return macro.discrete(space, genotype, **arguments)


def shared_arguments(space: Space, arguments: Mapping[str, object]) -> dict[str, object]:
    """Those of a supernet's arguments that its discrete networks take too; their norms keep a scale and shift."""
    known = inspect.signature(macro_of(space).discrete).parameters
    return {key: value for key, value in arguments.items() if key in known and key != "affine"}
