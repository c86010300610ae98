"""Top-1 discretisation: the recurrent cell of DARTS (arXiv:1806.09055, section 2.4, with k = 1).

    per node:  keep the incoming edge with the largest  max over o != none of p[e, o],  with that o

The rule is `TopKCells.project`, beside the space's constraints.
"""

from typing import ClassVar

from .projection import Projection
from .registry import DISCRETISERS

__all__ = ["Top1"]


@DISCRETISERS.register("top1")
class Top1(Projection):
    """For spaces whose nodes keep one edge; ties go to the lower edge and operation."""

    projection: ClassVar[str] = "top1"
