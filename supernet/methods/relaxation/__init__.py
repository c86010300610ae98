"""Relaxations: alphas [E, O] to mixing weights p [E, O]."""

from . import softmax
from .registry import RELAXATIONS

__all__ = ["RELAXATIONS", "softmax"]
