"""Connectors: how an edge enters its node, by its mixing weights or by what it computes."""

from . import edge_normalisation, skip_dropout

__all__ = ["edge_normalisation", "skip_dropout"]
