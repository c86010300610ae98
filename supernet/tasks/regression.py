"""The task of numbers: one or several a picture, in units in which a network learns them well.

z = (y - mean) / deviation        loss = mean over samples and numbers of (z - output)^2
rmse = root of the mean of (y - output * deviation - mean)^2        mae = mean of its absolute value

The mean and the deviation are those of the training data, so that a network, whose outputs begin near 0, need not climb
to prices of a million first. What is measured is in the units of the data.
"""
# B batch, K numbers

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import SupernetError
from .task import TASKS, require_form

__all__ = ["Regression"]


@TASKS.register("regression")
@dataclass(frozen=True)
class Regression:
    """Squared error; its root selects, in the units of the targets, and less is better.

    `outputs` numbers a sample, with a `mean` and a `deviation` above 0 each; without them outputs are the numbers
    themselves. `smoothing` is of class labels, and must be 0.
    """

    name: ClassVar[str] = "regression"
    outputs: int = 1
    smoothing: float = 0.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    selects: str = "rmse"
    maximise: bool = False

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise SupernetError("task=regression needs 1 number a sample or more, the data have none")
        if self.smoothing:
            raise SupernetError("recipe.smoothing is of class labels, and task=regression has none: recipe.smoothing=0")
        if len(self.mean) != len(self.deviation) or len(self.mean) not in (0, self.outputs):
            raise SupernetError(
                f"mean={self.mean} and deviation={self.deviation} must have {self.outputs} numbers each"
            )
        if not all(value > 0 for value in self.deviation):
            raise SupernetError(f"deviation={self.deviation} must be above 0")

    def unpack(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and numbers [B, K], float32; one number a sample may come as [B]."""
        images, numbers = batch[0], batch[1]
        targets = numbers[:, None] if numbers.ndim == 1 else numbers
        require_form(targets.shape[1:] == (self.outputs,), self.name, f"numbers [B, {self.outputs}]", numbers)
        return images, targets.float()

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """The mean squared error of outputs [B, K] and the standardised targets [B, K]."""
        return self._error(outputs, targets).square().mean()

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`count` (numbers) in int64, `standard`, `squares` and `distances` in float64, scalars, of [B, K] and [B, K].

        `standard` sums the loss, the two others are of errors in the units of the data.
        """
        error = self._error(outputs.detach().double(), targets.double())
        own = error if not self.mean else error * _row(self.deviation, error)
        return {
            "count": outputs.new_full((), targets.numel(), dtype=torch.int64),
            "standard": error.square().sum(),
            "squares": own.square().sum(),
            "distances": own.abs().sum(),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The loss, and the root of the mean square and the mean distance of all numbers that the scalars count."""
        count = int(sums["count"])
        standard, squares, distances = (float(sums[key]) / count for key in ("standard", "squares", "distances"))
        return {"loss": standard, "rmse": math.sqrt(squares), "mae": distances}

    def _error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs minus standardised targets [B, K]: [B] minus [B, 1] would be broadcast to [B, B] without a word."""
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        if outputs.shape != targets.shape:
            raise SupernetError(
                f"outputs {tuple(outputs.shape)} must be numbers {tuple(targets.shape)}, as the targets are: network "
                "and data do not fit"
            )
        if self.mean:
            targets = (targets - _row(self.mean, targets)) / _row(self.deviation, targets)
        return outputs - targets


def _row(values: tuple[float, ...], like: Tensor) -> Tensor:
    """`values` [K], filled where they are needed: a tensor made of numbers on the host would have to be waited for."""
    return torch.cat([like.new_full((1,), value) for value in values])
