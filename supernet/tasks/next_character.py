"""The task of text: guess the next character at every place of a window.

loss = mean of -ln p(next)        bits per character: bpc = loss / ln 2
"""
# B batch, K characters of the alphabet, T places of a window

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import SupernetError
from .task import TASKS

__all__ = ["NextCharacter"]


@TASKS.register("next_character")
@dataclass(frozen=True)
class NextCharacter:
    """Cross entropy over logits [B, K, T], measured in bits per character.

    `outputs` characters; `smoothing` in [0, 1) smooths the labels, in training only.
    """

    name: ClassVar[str] = "next_character"
    outputs: int
    smoothing: float = 0.0
    selects: str = "bpc"
    maximise: bool = False

    def __post_init__(self) -> None:
        if self.outputs < 2:
            raise SupernetError(f"guessing the next character needs 2 characters or more, the data have {self.outputs}")
        if not 0 <= self.smoothing < 1:
            raise SupernetError(f"smoothing={self.smoothing} must lie in [0, 1)")

    def unpack(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Characters [B, T] and those that follow them [B, T]."""
        return batch[0], batch[1]

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """Logits [B, K, T] against characters [B, T]; the mean over all places."""
        if outputs.dim() != 3 or (outputs.shape[0], *outputs.shape[2:]) != tuple(targets.shape):
            raise SupernetError(
                f"outputs {tuple(outputs.shape)} must be logits [B, {self.outputs}, T] for targets "
                f"{tuple(targets.shape)} [B, T]: network and data do not fit"
            )
        return functional.cross_entropy(outputs, targets, label_smoothing=self.smoothing if training else 0.0)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`count` (characters) and `right` in int64, `loss` in float64, all scalars; NaN is never right.

        Outputs are logits [B, K, T], targets characters [B, T].
        """
        logits = outputs.detach()
        guess = logits.argmax(1).masked_fill(logits.isnan().any(1), -1)
        loss = functional.cross_entropy(logits.float(), targets, reduction="none")
        return {
            "count": logits.new_full((), targets.numel(), dtype=torch.int64),
            "right": (guess == targets).sum(),
            "loss": loss.double().sum(),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean loss in nats, the same in bits, and the share of right guesses in [0, 1]."""
        count = int(sums["count"])
        loss = float(sums["loss"]) / count
        return {"loss": loss, "bpc": loss / math.log(2), "accuracy": float(sums["right"]) / count}
