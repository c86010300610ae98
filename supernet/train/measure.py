"""Measuring a network: on a loader, without gradients and in evaluation mode, and by the sums of its training steps."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..network.freezing import frozen_statistics
from ..runtime.guard import measured
from ..runtime.ranks import Ranks
from ..tasks.task import Task, add_sums

__all__ = ["evaluate", "phase_metrics"]


@torch.no_grad()
def evaluate(
    net: nn.Module,
    task: Task,
    batches: Iterable[Any],
    ranks: Ranks | None = None,
    outputs: Callable[[Any], Tensor] | None = None,
    batch_statistics: bool = False,
) -> dict[str, float]:
    """The task's metrics over all batches, those of all `ranks`; the network is left in the mode it was in.

    `outputs` gives the network's outputs [B, ...] of inputs [B, ...] in another way than calling it. With
    `batch_statistics` it runs in training mode, whose norms take each batch's own mean and variance; their running
    statistics stay as they are.
    """
    outputs = net if outputs is None else outputs
    training = net.training
    net.train(batch_statistics)
    sums: dict[str, Tensor] = {}
    try:
        with frozen_statistics(net) if batch_statistics else nullcontext():
            for batch in batches:
                inputs, targets = task.unpack(batch)
                sums = add_sums(sums, task.sums(outputs(inputs).float(), targets))
    finally:
        net.train(training)
    return task.metrics((ranks or Ranks()).total({"": sums})[""])


def phase_metrics(task: Task, sums: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """The metrics of each phase as ``phase/name``, of sums that are scalars; phases that were skipped have none."""
    return {
        f"{phase}/{name}": value
        for phase, totals in sums.items()
        if measured(totals)
        for name, value in task.metrics(totals).items()
    }
