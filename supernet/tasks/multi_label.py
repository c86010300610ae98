"""The task of tags: which of K labels a picture has, any number of them.

loss = mean over samples and labels of -[y ln q + (1 - y) ln(1 - q)],  q = sigmoid(logit)
f1   = 2 TP / (2 TP + FP + FN), over all samples and labels together (micro), a label being there where q > 1/2

F1 selects, because its counts add up exactly over batches and processes; a mean average precision would have to keep
every score of the whole part.
"""
# B batch, K labels

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import SupernetError
from .task import TASKS, require_form

__all__ = ["MultiLabel"]


@TASKS.register("multi_label")
@dataclass(frozen=True)
class MultiLabel:
    """Binary cross entropy of each label; F1 over all labels selects.

    `outputs` labels; `smoothing` s in [0, 1) makes targets y (1 - s) + s / 2, in training only.
    """

    name: ClassVar[str] = "multi_label"
    outputs: int
    smoothing: float = 0.0
    selects: str = "f1"
    maximise: bool = True

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise SupernetError("task=multi_label needs 1 label or more, the data have none")
        if not 0 <= self.smoothing < 1:
            raise SupernetError(f"smoothing={self.smoothing} must lie in [0, 1)")

    def unpack(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and rows of 0 and 1 [B, K], float32."""
        images, targets = batch[0], batch[1]
        require_form(targets.shape[1:] == (self.outputs,), self.name, f"rows of 0 and 1 [B, {self.outputs}]", targets)
        return images, targets.float()

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """Logits [B, K] against rows of 0 and 1 [B, K]; the mean over all of them."""
        smoothing = self.smoothing if training else 0.0
        return functional.binary_cross_entropy_with_logits(outputs, targets * (1 - smoothing) + smoothing / 2)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`count`, `both`, `guessed`, `true` and `exact` in int64, `loss` in float64, all scalars, of [B, K].

        `both` counts the labels that are there and guessed, `exact` the samples whose labels are all right. NaN guesses
        nothing, and makes its sample wrong.
        """
        logits = outputs.detach()
        guess, true = logits > 0, targets > 0.5
        right = ((guess == true) & ~logits.isnan()).all(1)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        return {
            "count": logits.new_full((), len(logits), dtype=torch.int64),
            "both": (guess & true).sum(),
            "guessed": guess.sum(),
            "true": true.sum(),
            "exact": right.sum(),
            "loss": loss.double().mean(1).sum(),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean loss; F1, precision and recall over all labels, and the share of samples without a mistake.

        All but the loss lie in [0, 1]. What has nothing to count (no label guessed, or none there) is 0.
        """
        count, both, guessed, true = (int(sums[key]) for key in ("count", "both", "guessed", "true"))
        return {
            "loss": float(sums["loss"]) / count,
            "f1": 2 * both / max(guessed + true, 1),
            "precision": both / max(guessed, 1),
            "recall": both / max(true, 1),
            "exact": int(sums["exact"]) / count,
        }
