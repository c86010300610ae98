"""Running statistics under masks on the device, for networks that no kernel runs: there every operation runs.

What a mask on the host leaves out does not run, so its batch norms count nothing. Under a gate they do run; behind the
pass their statistics are put back where the gate is 0.
"""
# E edges, O operations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["gated_statistics"]


@contextmanager
def gated_statistics(gated: Iterable[tuple[Tensor, nn.Module]]) -> Iterator[None]:
    """Around a pass: batch norms inside a module whose gate (0-dim) is 0 keep the running statistics of before."""
    before = [
        (buffer, gate, buffer.clone())
        for gate, module in gated
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and norm.training and norm.track_running_stats
        for buffer in norm.buffers(recurse=False)
    ]
    yield
    for buffer, gate, value in before:
        # Past autograd, to which the norm has handed the buffer: its backward would refuse one that was written since,
        # though in training it never reads it.
        buffer.data.copy_(torch.where(gate > 0, buffer, value))
