"""Drawings of decision trees: what a space offers along its network, in columns of text."""

from .macro import draw_macro

__all__ = ["draw_macro"]
