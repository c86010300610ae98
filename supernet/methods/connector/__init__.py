"""Connectors: how an edge enters its node, by its mixing weights or by what it computes."""

from . import auxiliary_skip, edge_normalisation, edge_pairs, entangled, skip_dropout, skip_noise

__all__ = ["auxiliary_skip", "edge_normalisation", "edge_pairs", "entangled", "skip_dropout", "skip_noise"]
