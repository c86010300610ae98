"""The registry of ready search spaces and the one way to make them."""

from collections.abc import Callable

from ..arguments import check_arguments
from ..registry import Registry
from .genotype import Genotype
from .space import Space

__all__ = ["SPACES", "get_space", "space_of"]

SPACES: Registry[Callable[..., Space]] = Registry("space")


def get_space(name: str, /, **args: object) -> Space:
    """The space `name` with the arguments of its factory; raises SupernetError for an unknown name or argument."""
    factory = SPACES[name]
    check_arguments(factory, args, f"space {name!r}")
    return factory(**args)


def space_of(genotype: Genotype) -> Space:
    """The registered space that `genotype` names, after checking that it is one of its points."""
    space = get_space(genotype.space, **genotype.args)
    space.validate(genotype)
    return space
