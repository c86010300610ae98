"""Searchers that only ask and tell: strategy.py says how, and each file has one idea with its paper.

The names that take torch or scikit-learn are imported when they are asked for.
"""

from . import evolution, grid, local_search, random_search
from .reinforcement import q_learning
from .strategy import STRATEGIES, Strategy, make_strategy

__all__ = [
    "STRATEGIES", "Strategy", "evolution", "grid", "local_search", "make_strategy", "q_learning", "random_search",
]  # fmt: skip

_HERE = "supernet.strategies"
STRATEGIES.lazy("nas_rl", f"{_HERE}.reinforcement.controller")
STRATEGIES.lazy("gaussian_process", f"{_HERE}.bayesian.gaussian_process")
STRATEGIES.lazy("predictor", f"{_HERE}.bayesian.predictor")
