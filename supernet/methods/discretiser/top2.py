"""Top-2 discretisation (DARTS, arXiv:1806.09055, section 2.4).

    per node:  keep the two incoming edges with the largest  max over o != none of p[e, o],  each with that o

The rule is `TopKCells.project`, beside the space's constraints.
"""

from typing import ClassVar

from .projection import Projection
from .registry import DISCRETISERS

__all__ = ["Top2"]


@DISCRETISERS.register("top2")
class Top2(Projection):
    """For spaces whose nodes keep two edges; ties go to the lower edge and operation."""

    projection: ClassVar[str] = "top2"
