"""Connectors: how an edge enters its node, by its mixing weights or by what it computes."""

from . import auxiliary_skip, edge_normalisation, skip_dropout

__all__ = ["auxiliary_skip", "edge_normalisation", "skip_dropout"]
