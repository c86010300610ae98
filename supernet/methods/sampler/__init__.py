"""Samplers: a draw of the mixing weights for each half of a step."""

from . import dirichlet, gumbel, uniform

__all__ = ["dirichlet", "gumbel", "uniform"]
