"""Perturbations: another mixture for the weights' half of a step."""

from . import edge_mutation, pgd, random

__all__ = ["edge_mutation", "pgd", "random"]
