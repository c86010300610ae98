"""Relaxations: alphas [E, O] to mixing weights p [E, O]."""

from . import softmax

__all__ = ["softmax"]
