"""Selectors: the genotype, from strengths or in rounds."""

from . import projection

__all__ = ["projection"]
