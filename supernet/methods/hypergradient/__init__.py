"""Hypergradients: the gradient of the validation loss with respect to the alphas, at one step."""

from . import exact, finite_difference, first_order
from .problem import Estimate, Problem, frozen_statistics
from .registry import HYPERGRADIENTS, Hypergradient

__all__ = [
    "HYPERGRADIENTS", "Estimate", "Hypergradient", "Problem", "exact", "finite_difference", "first_order",
    "frozen_statistics",
]  # fmt: skip
