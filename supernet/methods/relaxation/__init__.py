"""Relaxations: alphas to mixing weights."""

from . import (
    identity,
    operation_groups,
    sigmoid,
    simplex,
    softmax,
    sparse_code,
    stable_rank,
    temperature,
    uniform,
    unweighted,
)

__all__ = [
    "identity",
    "operation_groups",
    "sigmoid",
    "simplex",
    "softmax",
    "sparse_code",
    "stable_rank",
    "temperature",
    "uniform",
    "unweighted",
]
