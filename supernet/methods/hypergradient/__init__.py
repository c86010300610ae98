"""Hypergradients: the gradient of the validation loss with respect to the alphas, at one step."""

from . import (
    ascent,
    conjugate_gradient,
    exact,
    finite_difference,
    first_order,
    mixed_level,
    neumann,
    none,
    single_level,
)

__all__ = [
    "ascent",
    "conjugate_gradient",
    "exact",
    "finite_difference",
    "first_order",
    "mixed_level",
    "neumann",
    "none",
    "single_level",
]
