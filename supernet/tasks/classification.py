"""The task of images: guess the class."""

# B batch, K classes

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import SupernetError
from .task import TASKS

__all__ = ["ImageClassification"]


@TASKS.register("classification")
@dataclass(frozen=True)
class ImageClassification:
    """Cross entropy, and the shares of images whose class is the first or among the first five guesses.

    `outputs` classes; `smoothing` in [0, 1) smooths the labels, in training only.
    """

    name: ClassVar[str] = "classification"
    outputs: int
    smoothing: float = 0.0
    selects: str = "top1"
    maximise: bool = True

    def __post_init__(self) -> None:
        if self.outputs < 2:
            raise SupernetError(f"classification needs 2 classes or more, the data have {self.outputs}")
        if not 0 <= self.smoothing < 1:
            raise SupernetError(f"smoothing={self.smoothing} must lie in [0, 1)")

    def unpack(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and targets, classes [B] or shares [B, K]."""
        return batch[0], batch[1]

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """Logits [B, K]; targets are classes [B] or, from mixup, shares [B, K]."""
        return functional.cross_entropy(outputs, targets, label_smoothing=self.smoothing if training else 0.0)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`count`, `top1`, `top5` in int64 and `loss` in float64, scalars, of logits [B, K] and targets [B] or [B, K].

        Ties go to the lower class, NaN is never right.
        """
        logits = outputs.detach()
        classes = targets.argmax(1) if targets.ndim == 2 else targets
        own = logits.gather(1, classes[:, None])
        earlier = torch.arange(logits.shape[1], device=logits.device)[None, :] < classes[:, None]
        rank = ((logits > own) | ((logits == own) & earlier)).sum(1)
        rank = rank.masked_fill(logits.isnan().any(1), logits.shape[1])  # comparisons with NaN are false: rank 0
        loss = functional.cross_entropy(logits.float(), targets, reduction="none")
        return {
            "count": logits.new_full((), len(logits), dtype=torch.int64),  # filled there: nothing waits
            "top1": (rank < 1).sum(),
            "top5": (rank < min(5, logits.shape[1])).sum(),
            "loss": loss.double().sum(),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Shares in [0, 1], and the mean loss."""
        count = int(sums["count"])
        return {key: float(sums[key]) / count for key in ("loss", "top1", "top5")}
