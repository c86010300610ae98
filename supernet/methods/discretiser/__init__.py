"""Discretisers: a trained supernet to one genotype."""

from . import argmax, top1, top2
from .registry import DISCRETISERS

__all__ = ["DISCRETISERS", "argmax", "top1", "top2"]
