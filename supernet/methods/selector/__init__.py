"""Selectors: the genotype, from strengths or in rounds."""

from . import best_path, projection, removal, skip_cap

__all__ = ["best_path", "projection", "removal", "skip_cap"]
