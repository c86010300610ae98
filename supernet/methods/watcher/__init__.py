"""Watchers: what looks at each ended epoch and may prune, freeze, stop or go back."""

from . import (
    adaptation,
    best_epoch,
    best_of_groups,
    eigenvalue,
    fisher,
    gradient_agreement,
    gradient_matching,
    greedy_edges,
    one_edge,
    shapley,
    skip_count,
    stable_ranking,
    threshold,
)

__all__ = [
    "adaptation", "best_epoch", "best_of_groups", "eigenvalue", "fisher", "gradient_agreement", "gradient_matching",
    "greedy_edges", "one_edge", "shapley", "skip_count", "stable_ranking", "threshold",
]  # fmt: skip
