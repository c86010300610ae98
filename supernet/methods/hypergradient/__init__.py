"""Hypergradients: the gradient of the validation loss with respect to the alphas, at one step."""

from . import exact, finite_difference, first_order, none

__all__ = ["exact", "finite_difference", "first_order", "none"]
