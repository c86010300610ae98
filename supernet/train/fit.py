"""Fits a network's arguments to the data and the task: channels in, outputs, as far as the network takes them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .data.sources import ImageInfo
from .task import Task

__all__ = ["fit_arguments"]


def fit_arguments(network: Callable[..., Any], given: Mapping[str, Any], info: ImageInfo, task: Task) -> dict[str, Any]:
    """`given` with `in_chans` and `num_classes` of the data, where `network` has such arguments and none was given."""
    fitting = {"in_chans": info.in_chans, "num_classes": task.outputs}
    takes = inspect.signature(network).parameters
    return {key: value for key, value in fitting.items() if key in takes} | dict(given)
