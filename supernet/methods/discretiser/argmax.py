"""Argmax discretisation (NAS-Bench-201, arXiv:2001.00326, and every space of plain one-of decisions).

    per row e:  o = argmax over o of p[e, o]

The rule is `Space.project`, and `EdgeCells.project` for cells.
"""

from typing import ClassVar

from .projection import Projection
from .registry import DISCRETISERS

__all__ = ["Argmax"]


@DISCRETISERS.register("argmax")
class Argmax(Projection):
    """For spaces whose rows each keep their strongest option; ties go to the first."""

    projection: ClassVar[str] = "argmax"
