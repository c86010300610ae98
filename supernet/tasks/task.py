"""A task: what the targets are for. Loops speak this protocol, so nothing in them knows of classes."""

# B batch, K classes

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import SupernetError
from ..registry import Registry

__all__ = ["TASKS", "ImageClassification", "PhaseSums", "Sums", "Task", "add_sums", "progress_names"]

Sums: TypeAlias = Mapping[str, Tensor]  # what a task counts over batches, as scalars
PhaseSums: TypeAlias = Mapping[str, Sums]  # phase ("train", "alpha") -> sums

SHORT = {"top1": "acc"}  # a metric's word where its name is too long for the progress line

TASKS: Registry[type[Any]] = Registry("task")
TASKS.lazy("next_character", "supernet.tasks.sequence")


@runtime_checkable
class Task(Protocol):
    """What a user's own task provides; four short methods and three values.

    `outputs` is the size of the network's head, `selects` the metric by which networks are compared, `maximise` whether
    more of it is better.
    """

    @property
    def outputs(self) -> int: ...

    @property
    def selects(self) -> str: ...

    @property
    def maximise(self) -> bool: ...

    def unpack(self, batch: Any) -> tuple[Any, Any]:
        """A loader's batch as (inputs of the network, targets)."""
        ...

    def loss(self, outputs: Tensor, targets: Any, *, training: bool) -> Tensor:
        """The mean loss of a batch, a scalar with gradient."""
        ...

    def sums(self, outputs: Tensor, targets: Any) -> dict[str, Tensor]:
        """Sums over the batch that add up over batches (`add_sums`), as scalars on the outputs' device."""
        ...

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of all batches that were summed, `selects` and "loss" among them."""
        ...


def add_sums(total: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two results of `Task.sums` as one; an empty `total` begins. Counts are int64, so they add up exactly."""
    return {key: value + total[key] if total else value for key, value in more.items()}


def progress_names(task: Task) -> dict[str, str]:
    """What of a training the progress line shows: the metric of a row of the log -> its short word."""
    return {"train/loss": "loss", f"train/{task.selects}": SHORT.get(task.selects, task.selects)}


@TASKS.register("classification")
@dataclass(frozen=True)
class ImageClassification:
    """Cross entropy, and the shares of images whose class is the first or among the first five guesses.

    `outputs` classes; `smoothing` in [0, 1) smooths the labels, in training only.
    """

    outputs: int
    smoothing: float = 0.0
    selects: str = "top1"
    maximise: bool = True

    def __post_init__(self) -> None:
        if self.outputs < 2:
            raise SupernetError(f"classification needs 2 classes or more, the data have {self.outputs}")
        if not 0 <= self.smoothing < 1:
            raise SupernetError(f"smoothing={self.smoothing} must lie in [0, 1)")

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch[0], batch[1]

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        """Logits [B, K]; targets are classes [B] or, from mixup, shares [B, K]."""
        return functional.cross_entropy(outputs, targets, label_smoothing=self.smoothing if training else 0.0)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`count`, `top1`, `top5` in int64 and `loss` in float64; ties go to the lower class, NaN is never right."""
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

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Shares in [0, 1], and the mean loss."""
        count = int(sums["count"])
        return {key: float(sums[key]) / count for key in ("loss", "top1", "top5")}
