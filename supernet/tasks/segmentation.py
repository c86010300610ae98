"""The task of masks: the class of every pixel.

loss = mean over pixels of -ln p(class)        IoU of a class = both / (true + guessed - both), in pixels

The mean of IoU over the classes that are there or guessed (mIoU) selects. Pixels of the class IGNORE count nowhere.
"""
# B batch, K classes, H height, W width

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ..data.augment import IGNORE
from ..errors import SupernetError
from .task import TASKS, require_form

__all__ = ["IGNORE", "SemanticSegmentation"]


@TASKS.register("segmentation")
@dataclass(frozen=True)
class SemanticSegmentation:
    """Cross entropy over logits [B, K, H, W]; mIoU selects.

    `outputs` classes; `smoothing` in [0, 1) smooths the labels, in training only.
    """

    name: ClassVar[str] = "segmentation"
    outputs: int
    smoothing: float = 0.0
    selects: str = "miou"
    maximise: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.outputs <= IGNORE:
            raise SupernetError(f"task=segmentation needs 2 to {IGNORE} classes, the masks have {self.outputs}")
        if not 0 <= self.smoothing < 1:
            raise SupernetError(f"smoothing={self.smoothing} must lie in [0, 1)")

    def unpack(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and masks [B, H, W], int64, with classes 0 to K - 1 and IGNORE."""
        images, masks = batch[0], batch[1]
        fits = masks.ndim == 3 and not masks.is_floating_point()
        require_form(fits, self.name, "masks of class numbers [B, H, W]", masks)
        return images, masks.long()

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """Logits [B, K, H, W] against masks [B, H, W]; the mean over all pixels that count, 0 where none does."""
        self._check(outputs, targets)
        smoothing = self.smoothing if training else 0.0
        return _entropy(outputs, targets, smoothing) / (targets != IGNORE).sum().clamp(min=1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Pixels of each class, `both`, `true` and `guessed` [K] in int64, and the scalars `count` and `loss`.

        Outputs are logits [B, K, H, W], targets masks [B, H, W]. `both` is the diagonal of the confusion matrix, the
        others are its sums. A pixel with NaN is guessed as nothing.
        """
        logits = outputs.detach()
        self._check(logits, targets)
        counts = targets != IGNORE
        guess = logits.argmax(1).masked_fill(logits.isnan().any(1) | ~counts, IGNORE)
        return {
            "count": counts.sum(),
            "both": self._pixels(targets.masked_fill(guess != targets, IGNORE)),
            "true": self._pixels(targets),
            "guessed": self._pixels(guess),
            "loss": _entropy(logits.double(), targets),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean loss, the mean IoU over the classes that occur and the share of right pixels, in [0, 1]."""
        count = max(int(sums["count"]), 1)
        both, union = sums["both"].double(), (sums["true"] + sums["guessed"] - sums["both"]).double()
        occurs = union > 0
        miou = float((both[occurs] / union[occurs]).mean()) if bool(occurs.any()) else 0.0
        return {"loss": float(sums["loss"]) / count, "miou": miou, "accuracy": float(both.sum()) / count}

    def _pixels(self, masks: Tensor) -> Tensor:
        """How many pixels of masks [B, H, W] each class has, [K]; counted without waiting for the device."""
        counts = masks.new_zeros(IGNORE + 1)
        return counts.scatter_add_(0, masks.flatten(), torch.ones_like(masks).flatten())[: self.outputs]

    def _check(self, outputs: Tensor, targets: Tensor) -> None:
        wanted = (len(targets), self.outputs, *targets.shape[1:])
        if outputs.shape != wanted:
            raise SupernetError(
                f"outputs {tuple(outputs.shape)} must be logits {wanted}, one row of classes a pixel of the masks: "
                "segmentation needs a network without pooling and strides, or one that scales back to the image"
            )


def _entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The cross entropy summed over the pixels that count.

    Pixel by pixel: over images, a GPU has no form of it that gives the same bits each time (deterministic=true).
    """
    pixels = outputs.movedim(1, -1).flatten(0, -2)
    return functional.cross_entropy(
        pixels, targets.flatten(), ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
    )
