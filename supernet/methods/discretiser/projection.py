"""What the discretisers by strength share: they take the projection of the space, which knows its own constraints."""

from typing import ClassVar

from ...errors import SupernetError
from ...network import Supernet
from ...space import Genotype
from ..part import Part

__all__ = ["Projection"]


class Projection(Part):
    """Fits spaces whose projection has the name `projection`."""

    projection: ClassVar[str]

    def __call__(self, net: Supernet) -> Genotype:
        """The genotype of the present strengths; raises SupernetError for a space of another projection."""
        if net.space.projection != self.projection:
            raise SupernetError(
                f"method.discretiser={self.projection} does not fit space {net.space.name!r}; "
                f"use method.discretiser={net.space.projection}"
            )
        return net.genotype()
