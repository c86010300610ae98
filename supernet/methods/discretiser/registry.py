"""The registry of discretisers."""

from collections.abc import Callable
from typing import Protocol

from ...network import Supernet
from ...registry import Registry
from ...space import Genotype

__all__ = ["DISCRETISERS", "Discretiser"]


class Discretiser(Protocol):
    """Picks the genotype of a supernet in its present state."""

    def __call__(self, net: Supernet) -> Genotype: ...


DISCRETISERS: Registry[Callable[[], Discretiser]] = Registry("discretiser")
