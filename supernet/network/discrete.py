"""Building the discrete network of a genotype: a plain module without choices."""

import inspect
from typing import Any

from torch import nn

from ..arguments import check_arguments
from ..errors import SupernetError
from ..space.genotype import Genotype
from ..space.registry import SPACES, space_of
from ..space.space import Space
from .macro import macro_of
from .seeding import seeded

__all__ = ["build", "build_from", "shared_arguments"]


def build(genotype: Genotype, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """The network of `genotype`, a point of a registered space.

    `arguments` are the macro structure's: for DARTS channels, layers, num_classes, in_chans, stem ("cifar" or
    "imagenet"), auxiliary, drop_path_rate, pool_bn ... `seed` draws the weights (None: torch's global generator).
    Raises GenotypeError where the genotype is no point of its space, SupernetError for unknown arguments.
    """
    if not isinstance(genotype, Genotype):
        raise SupernetError(f"build takes a Genotype, not {genotype!r:.60}; use published(name) or Genotype.load(path)")
    if genotype.space not in SPACES:
        raise SupernetError(
            f"space {genotype.space[:60]!r} is not registered; for a network of your own use "
            "Supernet(Space(Net)).discretize(genotype)"
        )
    return build_from(space_of(genotype), genotype, seed=seed, **arguments)


def build_from(space: Space, genotype: Genotype, /, *, seed: int | None = None, **arguments: Any) -> nn.Module:
    """The network of `genotype`, a point of `space`."""
    space.validate(genotype)
    macro = macro_of(space)
    check_arguments(macro.discrete, arguments, f"the {space.name!r} network")
    with seeded(seed):
        return macro.discrete(space, genotype, **arguments)


def shared_arguments(space: Space, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a supernet's arguments that its discrete networks take too; their norms keep a scale and shift."""
    taken = inspect.signature(macro_of(space).discrete).parameters
    return {key: value for key, value in arguments.items() if key in taken and key != "affine"}
