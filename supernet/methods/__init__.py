"""Gradient methods as parts, one idea a file; a published method is a preset of parts, a hybrid one override.

Adding a part: its file in the folder of its group, and one line in that folder's `__init__`. Adding a method: its YAML.
"""

from . import (
    after_update,
    alpha_optimiser,
    connector,
    hypergradient,
    perturbation,
    regulariser,
    relaxation,
    sampler,
    schedule,
    selector,
    watcher,
)  # fmt: skip
from .method import Method
from .part import Clock, Part
from .parts import GROUPS, HYPERGRADIENTS, RELAXATIONS
from .phase import Phase
from .problem import Estimate, Problem

__all__ = [
    "GROUPS", "HYPERGRADIENTS", "RELAXATIONS", "Clock", "Estimate", "Method", "Part", "Phase", "Problem",
    "after_update", "alpha_optimiser", "connector", "hypergradient", "perturbation", "regulariser", "relaxation",
    "sampler", "schedule", "selector", "watcher",
]  # fmt: skip
