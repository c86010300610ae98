"""Executors: y = executor(x, weights, p, mask) runs one mixed cell.

    x        the cell's input states, each [B, C, H, W]
    weights  the cell's modules (`MixedCell`); the same state dict for every executor
    p        mixing weights [E, O], a leaf of its own for each cell
    mask     which (edge, operation) run, [E, O]: a tuple on the host, where a masked one costs nothing, or a tensor on
             the device for choices made there, which nothing waits for. The fused executors' kernels read it; for the
             others everything runs and is multiplied by it

An executor never sees alphas, and a method never sees a kernel.
"""

from ...errors import SupernetError, unknown
from . import fused, reference, stock
from .automatic import Auto
from .registry import EXECUTORS, Executor

__all__ = ["EXECUTORS", "Auto", "Executor", "fused", "make_executor", "reference", "stock"]


def make_executor(name: str) -> Executor:
    """The executor `name`; "auto" takes the fastest that serves, at the first pass, and logs which.

    Raises SupernetError for an unknown name.
    """
    if name == "auto":
        return Auto()
    if name not in EXECUTORS:
        raise SupernetError(unknown("executor", name, ["auto", *EXECUTORS]))
    return EXECUTORS[name]()
