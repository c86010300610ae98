"""Selectors: the genotype, from strengths or in rounds."""

from . import best_path, edge_pairs, group_norm, projection, rank_sum, removal, skip_cap, support, threshold

__all__ = [
    "best_path",
    "edge_pairs",
    "group_norm",
    "projection",
    "rank_sum",
    "removal",
    "skip_cap",
    "support",
    "threshold",
]
