"""The registry of hypergradients."""

from collections.abc import Callable
from typing import ClassVar, Protocol

from ...registry import Registry
from .problem import Estimate, Problem

__all__ = ["HYPERGRADIENTS", "Hypergradient"]


class Hypergradient(Protocol):
    """Estimates dL_val/dalpha of a bilevel problem at its present weights, which it leaves untouched."""

    double_backward: ClassVar[bool]  # must the network's output be differentiable twice?
    uses_training_batch: ClassVar[bool]

    def __call__(self, problem: Problem) -> Estimate: ...


HYPERGRADIENTS: Registry[Callable[[], Hypergradient]] = Registry("hypergradient")
