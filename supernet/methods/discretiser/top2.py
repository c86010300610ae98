"""Top-2 discretisation (DARTS, arXiv:1806.09055, section 2.4).

per node:  keep the two incoming edges with the largest  max over o != none of p[e, o],  each with that o
"""

from ...errors import SupernetError
from ...network import Supernet
from ...space import Genotype
from ..part import Part
from .registry import DISCRETISERS

__all__ = ["Top2"]


@DISCRETISERS.register("top2")
class Top2(Part):
    """For spaces whose nodes keep two edges; ties go to the lower edge and operation."""

    def __call__(self, net: Supernet) -> Genotype:
        """Raises SupernetError for a space of another projection."""
        if net.space.projection != "top2":
            raise SupernetError(
                f"method.discretiser=top2 does not fit space {net.space.name!r}; "
                f"use method.discretiser={net.space.projection}"
            )
        return net.genotype()
