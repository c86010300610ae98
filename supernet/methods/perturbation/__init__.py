"""Perturbations: another mixture for the weights' half of a step."""

from . import random

__all__ = ["random"]
