"""Samplers: a draw of the mixing weights for each half of a step."""

from . import gumbel

__all__ = ["gumbel"]
