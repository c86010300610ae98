"""Gradient methods as parts, one idea a file: relaxation, hypergradient, discretiser. A method is a preset of parts."""

from .discretiser import DISCRETISERS
from .hypergradient import HYPERGRADIENTS, Hypergradient, Problem
from .relaxation import RELAXATIONS

__all__ = ["DISCRETISERS", "HYPERGRADIENTS", "RELAXATIONS", "Hypergradient", "Problem"]
