"""Drawings of cells: a graph from the inputs on the left to the output on the right."""

from .draw import draw_cell, draw_relaxed

__all__ = ["draw_cell", "draw_relaxed"]
