"""Zero-cost scores: numbers that rank networks from their first weights and a batch or two, without training.

    score("synflow", build(genotype, channels=16), [(images, labels)], seed=0)

`ZERO_COST` names them all. A new one is its file here and its line in `registry.py`.
"""

from .registry import ZERO_COST, ZeroCost, zero_cost
from .score import score

__all__ = ["ZERO_COST", "ZeroCost", "score", "zero_cost"]
