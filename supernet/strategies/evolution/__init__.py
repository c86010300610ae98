"""Populations of points that are copied and changed."""

from . import coevolution, genetic, regularised, tournament

__all__ = ["coevolution", "genetic", "regularised", "tournament"]
