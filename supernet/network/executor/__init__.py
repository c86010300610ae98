"""Executors: y = executor(x, weights, p, mask) runs one mixed cell.

    x        the cell's input states, each [B, C, H, W]
    weights  the cell's modules (`MixedCell`); the same state dict for every executor
    p        mixing weights [E, O], a leaf of its own for each cell
    mask     which (edge, operation) run, [E][O], on the host; a masked one costs nothing. A tensor [E, O] is for
             choices made on the device: fused executors read it there, the others wait for it

An executor never sees alphas, and a method never sees a kernel.
"""

from . import fused, reference, stock
from .registry import EXECUTORS, Executor, make_executor

__all__ = ["EXECUTORS", "Executor", "fused", "make_executor", "reference", "stock"]
