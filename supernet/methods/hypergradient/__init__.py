"""Hypergradients: the gradient of the validation loss with respect to the alphas, at one step."""

from . import exact, finite_difference, first_order
from .problem import Estimate, Problem, batch_norms, frozen_statistics
from .registry import HYPERGRADIENTS, Hypergradient

__all__ = [
    "HYPERGRADIENTS", "Estimate", "Hypergradient", "Problem", "batch_norms", "exact", "finite_difference",
    "first_order", "frozen_statistics",
]  # fmt: skip
