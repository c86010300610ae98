"""The noise of a sampler or a perturbation: counted from (seed, step, half, table), in fixed places before each step.

So a draw needs no state: a resumed run draws what it would have drawn, every rank draws the same, and every pass of one
half of a step reads the same numbers.
"""
# E edges, O operations

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..counter import uniform
from ..space import Table

__all__ = ["HALVES", "Half", "Noise"]

Half = Literal["alphas", "weights"]  # which of the two learns
HALVES: tuple[Half, Half] = ("alphas", "weights")


class Noise(nn.Module):
    """One buffer [E, O], or [E, O, N] where an option gets N numbers, for each half of a step and each table."""

    def __init__(self, tables: Sequence[Table], seed: int, like: Tensor, numbers: int = 1) -> None:
        """Buffers in the type and on the device of `like`, of any shape."""
        super().__init__()
        self.seed, self.tables, more = seed, tuple(tables), () if numbers == 1 else (numbers,)
        self._buffers_of: dict[tuple[Half, str], str] = {}
        for half in HALVES:
            for number, table in enumerate(self.tables):
                name = f"{half}_{number}"
                self._buffers_of[half, table.name] = name
                self.register_buffer(name, torch.zeros((*table.shape, *more)).to(like), persistent=False)

    def fill(self, draw: Callable[[NDArray[np.float64]], NDArray[np.float64]], step: int, stream: str) -> None:
        """The noise of `step`, which `draw` makes of uniform numbers, into the buffers that are there."""
        for (half, table), name in self._buffers_of.items():
            buffer = self.get_buffer(name)
            rows, *columns = buffer.shape
            index = np.arange(rows, dtype=np.int64)
            numbers = uniform(self.seed, f"{stream}/{half}/{table}", step, index, prod(columns))
            buffer.copy_(torch.from_numpy(draw(numbers.reshape(buffer.shape))))

    def of(self, half: Half, table: str) -> Tensor:
        """The noise [E, O] or [E, O, N] of a table in one half of the present step."""
        return self.get_buffer(self._buffers_of[half, table])
