"""A task: what the targets are for. Loops speak this protocol, so nothing in them knows of classes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from ..registry import Registry

__all__ = ["TASKS", "PhaseSums", "Sums", "Task", "add_sums", "progress_names"]

Sums: TypeAlias = Mapping[str, Tensor]  # what a task counts over batches, as scalars
PhaseSums: TypeAlias = Mapping[str, Sums]  # phase ("train", "alpha") -> sums

SHORT = {"top1": "acc"}  # a metric's word where its name is too long for the progress line

TASKS: "Registry[Callable[..., Task]]" = Registry("task")  # called with the number of outputs, and `smoothing`
TASKS.lazy("classification", "supernet.tasks.classification")
TASKS.lazy("next_character", "supernet.tasks.next_character")


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

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The metrics of all batches that were summed (scalars), `selects` and "loss" among them."""
        ...


def add_sums(total: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two results of `Task.sums`, dicts of scalars, as one; an empty `total` begins.

    Counts are int64, so they add up exactly.
    """
    return {key: value + total[key] if total else value for key, value in more.items()}


def progress_names(task: Task) -> dict[str, str]:
    """What of a training the progress line shows: the metric of a row of the log -> its short word."""
    return {"train/loss": "loss", f"train/{task.selects}": SHORT.get(task.selects, task.selects)}
