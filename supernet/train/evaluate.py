"""Measuring a network on a loader, without gradients and in evaluation mode."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .ranks import Ranks
from .task import Task, add_sums

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(net: nn.Module, task: Task, batches: Iterable[Any], ranks: Ranks | None = None) -> dict[str, float]:
    """The task's metrics over all batches, those of all `ranks`; the network is left in the mode it was in."""
    training = net.training
    net.eval()
    sums: dict[str, Tensor] = {}
    try:
        for batch in batches:
            inputs, targets = task.unpack(batch)
            sums = add_sums(sums, task.sums(net(inputs).float(), targets))
    finally:
        net.train(training)
    return task.metrics((ranks or Ranks()).total({"": sums})[""])
