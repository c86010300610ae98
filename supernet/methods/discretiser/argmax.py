"""Argmax discretisation (NAS-Bench-201, arXiv:2001.00326, and every space of plain one-of decisions).

per row e:  o = argmax over o of p[e, o]
"""

from ...errors import SupernetError
from ...network import Supernet
from ...space import Genotype
from ..part import Part
from .registry import DISCRETISERS

__all__ = ["Argmax"]


@DISCRETISERS.register("argmax")
class Argmax(Part):
    """For spaces whose rows each keep their strongest option; ties go to the first."""

    def __call__(self, net: Supernet) -> Genotype:
        """Raises SupernetError for a space of another projection."""
        if net.space.projection != "argmax":
            raise SupernetError(
                f"method.discretiser=argmax does not fit space {net.space.name!r}; "
                f"use method.discretiser={net.space.projection}"
            )
        return net.genotype()
