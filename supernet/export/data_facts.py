"""What is known of the data that a network reads, and what an export says of it: complete, checked and plain."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from torch import nn

from ..errors import SupernetError, unknown

__all__ = ["Arguments", "DataFacts", "classes_of", "complete"]

Arguments: TypeAlias = Mapping[str, Any]  # what a network's class is called with: its author decides what that may be

DATA = (
    "name", "task", "selects", "target_mean", "target_std", "mean", "std", "input_size", "class_names", "interpolation",
    "crop_pct",
)  # fmt: skip


class DataFacts(TypedDict, total=False):
    """In timm's terms. `mean` and `std` are per channel for values in [0, 1].

    Of data other than images only the name, the task and the classes are said.
    """

    name: str | None
    task: str  # where it is not the classification of images
    selects: str  # the metric of that task by which networks are compared
    target_mean: Sequence[float]  # a number that is predicted is its output * target_std + target_mean
    target_std: Sequence[float]
    input_size: Sequence[int]  # channels, height, width
    mean: Sequence[float]
    std: Sequence[float]
    class_names: Sequence[str] | None
    interpolation: str
    crop_pct: float


def complete(data: DataFacts, net: nn.Module, arguments: Arguments) -> DataFacts:
    """All of DATA with plain values; a name and classes only where they are known.

    Raises SupernetError for unknown keys, and for values that do not fit one another or the network.
    """
    for key in data:
        if key not in DATA:
            raise SupernetError(unknown("key of data", key, DATA))
    outputs = classes_of(net, arguments)
    side = arguments["image_size"] if isinstance(arguments.get("image_size"), int) else 32
    size = [int(n) for n in data.get("input_size") or (arguments.get("in_chans", 3), side, side)]
    channels = int(arguments.get("in_chans", size[0] if size else 3))  # a network of one's own may not say
    if len(size) != 3 or min(size) < 1 or size[0] != channels:
        raise SupernetError(f"data.input_size={size} must be (channels, height, width) with {channels} channels")
    facts = DataFacts()
    if (name := data.get("name")) is not None:
        facts["name"] = name
    if task := data.get("task"):
        facts["task"] = str(task)
        facts["selects"] = str(data.get("selects") or "loss")
    if means := [float(value) for value in data.get("target_mean") or ()]:
        deviations = [float(value) for value in data.get("target_std") or ()]
        if len(deviations) != len(means) or outputs not in (None, len(means)):
            raise SupernetError(
                f"data.target_mean={means} and target_std={deviations} must have one number each output"
            )
        facts |= {"target_mean": means, "target_std": deviations}
    facts["input_size"] = size
    facts["mean"] = _each_channel("mean", data.get("mean") or [0.0] * channels, channels)
    facts["std"] = _each_channel("std", data.get("std") or [1.0] * channels, channels)
    names = [str(name) for name in data.get("class_names") or ()]
    if names and outputs is not None and len(names) != outputs:
        raise SupernetError(f"data.class_names has {len(names)} names; the model has {outputs} classes")
    if names:
        facts["class_names"] = names
    facts["interpolation"] = str(data.get("interpolation") or "bicubic")
    facts["crop_pct"] = float(data.get("crop_pct") or 1.0)
    return facts


def classes_of(net: nn.Module, arguments: Arguments) -> object:
    """The number of classes, from the arguments where the network does not say it; None: unknown."""
    return getattr(net, "num_classes", arguments.get("num_classes"))


def _each_channel(key: str, values: Sequence[float], channels: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != channels:
        raise SupernetError(f"data.{key}={numbers} must have one number for each of {channels} channels")
    return numbers
