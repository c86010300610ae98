"""Fits a network's arguments to the data and the task, and checks before training that the network takes the data."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import SupernetError
from .data.loader import EvalLoader
from .data.sources import ImageInfo, View
from .task import Task

__all__ = ["check_fits", "fit_arguments"]


@torch.no_grad()
def check_fits(net: nn.Module, task: Task, view: View, device: torch.device) -> None:
    """Raises SupernetError where `net` cannot take two samples of `view`, or has another head than `task` needs."""
    training = net.training
    net.eval()
    try:
        batch = next(iter(EvalLoader(view.subset(np.arange(min(2, len(view)))), batch_size=2, device=device)))
        inputs, _ = task.unpack(batch)
        shape = tuple(inputs.shape[1:])
        try:
            outputs = net(inputs)
        except (RuntimeError, ValueError, TypeError) as error:
            if isinstance(error, SupernetError):
                raise
            reason = str(error).partition("\n")[0][:200]
            raise SupernetError(f"the network cannot take samples of the shape {shape}: {reason}") from None
        if (outputs.shape[1] if outputs.ndim > 1 else 1) != task.outputs:
            raise SupernetError(
                f"the network's outputs have the shape {tuple(outputs.shape)}; the task needs {task.outputs} a sample"
            )
    finally:
        net.train(training)


def fit_arguments(network: Callable[..., Any], given: Mapping[str, Any], info: ImageInfo, task: Task) -> dict[str, Any]:
    """`given` with channels, size and classes of the data, where `network` has such arguments and none was given."""
    fitting = {"in_chans": info.in_chans, "image_size": info.image_size, "num_classes": task.outputs}
    takes = inspect.signature(network).parameters
    return {key: value for key, value in fitting.items() if key in takes} | dict(given)
