"""The registry of relaxations."""

from collections.abc import Callable

from ...registry import Registry
from ..part import Part

__all__ = ["RELAXATIONS"]

RELAXATIONS: Registry[Callable[[], Part]] = Registry("relaxation")
