"""Building the discrete network of a genotype: a plain module without choices."""

from torch import nn

from ..errors import SupernetError
from ..space.genotype import Genotype
from ..space.registry import SPACES, space_of
from .macro.discrete import build_from

__all__ = ["build", "build_from"]


def build(genotype: Genotype, *, seed: int | None = None, **arguments: object) -> nn.Module:
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
