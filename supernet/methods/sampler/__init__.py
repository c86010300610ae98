"""Samplers: a draw of the mixing weights for each half of a step."""

from . import dirichlet, fair, gumbel, max_of_draws, reinmax, support, top1, two_paths, uniform

__all__ = ["dirichlet", "fair", "gumbel", "max_of_draws", "reinmax", "support", "top1", "two_paths", "uniform"]
