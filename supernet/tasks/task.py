"""A task: what the targets are for. Loops speak this protocol, so nothing in them knows of classes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from ..errors import SupernetError, unknown
from ..registry import Registry

if TYPE_CHECKING:
    from ..data.loader import Batch

__all__ = [
    "AUTO", "TASKS", "PhaseSums", "Sums", "Task", "add_sums", "name_of", "progress_names", "require_form",
    "require_name",
]  # fmt: skip

Sums: TypeAlias = Mapping[str, Tensor]  # what a task counts over batches, scalars or vectors
PhaseSums: TypeAlias = Mapping[str, Sums]  # phase ("train", "alpha") -> sums

AUTO = "auto"  # in place of a name: the task that the data say
SHORT = {"top1": "acc"}  # a metric's word where its name is too long for the progress line

TASKS: "Registry[Callable[..., Task]]" = Registry("task")  # called with the number of outputs, and `smoothing`
TASKS.lazy("classification", "supernet.tasks.classification")
TASKS.lazy("multi_label", "supernet.tasks.multi_label")
TASKS.lazy("next_character", "supernet.tasks.next_character")
TASKS.lazy("regression", "supernet.tasks.regression")
TASKS.lazy("segmentation", "supernet.tasks.segmentation")


@runtime_checkable
class Task(Protocol):
    """What a user's own task provides; four short methods and three values.

    `outputs` is the size of the network's head, `selects` the metric by which networks are compared, `maximise` whether
    more of it is better.

    Whatever reads the data, a task gets them in one form, a `Batch` of tensors, the first two on the network's device:
    `images` [B, C, H, W] (or the inputs that the data have, [B, ...]), `targets` [B, ...], and `index` [B], the numbers
    of the samples. The targets of the ready tasks, as `unpack` gives them:

        classification    int64 [B]           multi_label     float32 [B, K], rows of 0 and 1
        regression        float32 [B, K]      segmentation    int64 [B, H, W], 255 for pixels that do not count
        next_character    int64 [B, T]        a task of one's own: what the data give
    """

    @property
    def outputs(self) -> int: ...

    @property
    def selects(self) -> str: ...

    @property
    def maximise(self) -> bool: ...

    def unpack(self, batch: "Batch") -> tuple[Any, Any]:
        """A batch as (inputs of the network, targets)."""
        ...

    def loss(self, outputs: Tensor, targets: Any, *, training: bool) -> Tensor:
        """The mean loss of a batch, a scalar with gradient."""
        ...

    def sums(self, outputs: Tensor, targets: Any) -> dict[str, Tensor]:
        """Sums over the batch that add up over batches (`add_sums`), scalars or vectors on the outputs' device."""
        ...

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The metrics of all batches that were summed (scalars), `selects` and "loss" among them."""
        ...


def add_sums(total: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two results of `Task.sums`, dicts of scalars or vectors, as one; an empty `total` begins.

    Counts are int64, so they add up exactly.
    """
    return {key: value + total[key] if total else value for key, value in more.items()}


def progress_names(task: Task) -> dict[str, str]:
    """What of a training the progress line shows: the metric of a row of the log -> its short word."""
    return {"train/loss": "loss", f"train/{task.selects}": SHORT.get(task.selects, task.selects)}


def require_name(name: str) -> None:
    """Raises SupernetError, with the nearest name, unless `name` is that of a task, or "auto"."""
    if name != AUTO and name not in TASKS:
        raise SupernetError(unknown("task", name, [AUTO, *TASKS]))


def name_of(task: Task) -> str:
    """What a task is called: its registered name, or the name of its class where it is of the user's own."""
    name = getattr(task, "name", None)
    return name if isinstance(name, str) else type(task).__name__


def require_form(fits: bool, task: str, form: str, targets: Tensor) -> None:
    """Raises SupernetError, unless targets [B, ...] have the form that a task reads."""
    if not fits:
        kind = str(targets.dtype).removeprefix("torch.")
        raise SupernetError(
            f"task={task} reads {form}, and the data give {list(targets.shape)} of {kind}; data=csv reads such targets "
            "from a table, and in Python they are handed over as they are"
        )
