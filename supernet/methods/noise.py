"""The noise of a sampler: counted from (seed, step, half, table), and written into fixed places before each step.

So a draw needs no state: a resumed run draws what it would have drawn, every rank draws the same, and every pass of one
half of a step reads the same numbers.
"""
# E edges, O operations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..counter import uniform
from ..space import Table
from .parts import Sampler

__all__ = ["HALVES", "Half", "Noise"]

Half = Literal["alphas", "weights"]  # which of the two learns
HALVES: tuple[Half, Half] = ("alphas", "weights")


class Noise(nn.Module):
    """One buffer [E, O] for each half of a step and each table."""

    def __init__(self, tables: Sequence[Table], seed: int, like: Tensor) -> None:
        """Buffers in the type and on the device of `like`, of any shape."""
        super().__init__()
        self.seed, self.tables = seed, tuple(tables)
        self._buffers_of: dict[tuple[Half, str], str] = {}
        for half in HALVES:
            for number, table in enumerate(self.tables):
                name = f"{half}_{number}"
                self._buffers_of[half, table.name] = name
                self.register_buffer(name, torch.zeros(table.shape).to(like), persistent=False)

    def fill(self, sampler: Sampler, step: int) -> None:
        """The sampler's noise of `step`, into the buffers that are there."""
        for (half, table), name in self._buffers_of.items():
            buffer = self.get_buffer(name)
            rows, columns = buffer.shape
            numbers = uniform(self.seed, f"sampler/{half}/{table}", step, np.arange(rows, dtype=np.int64), columns)
            buffer.copy_(torch.from_numpy(sampler.draw(numbers)))

    def of(self, half: Half, table: str) -> Tensor:
        """The noise [E, O] of a table in one half of the present step."""
        return self.get_buffer(self._buffers_of[half, table])
