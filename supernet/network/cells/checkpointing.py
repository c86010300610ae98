"""Activation checkpointing of a cell: its inside is not kept for the backward but computed again there.

    forward    y = cell(x)        only x is kept
    backward   cell(x) again, with the draws of the first time, then its backward

Values and gradients are the same to the bit, and so is every buffer: batch norms would advance their running
statistics a second time while they run again, so meanwhile their momentum is 0 and they count nothing
(`num_batches_tracked` is None), which an executor that advances them itself must heed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ...errors import SupernetError
from ...ops.noise import Noise
from ..connector import Observer
from .cell import MixedCell

__all__ = ["checkpointed"]

RANDOM_LAYERS = ("Dropout", "RReLU", "FractionalMaxPool", "MultiheadAttention", "Transformer")  # of torch.nn


def checkpointed(function: Callable[..., Tensor], cell: nn.Module, *inputs: object) -> Tensor:
    """`function(*inputs)`, which runs the modules of `cell`; in training with its inside computed again later.

    Inputs and output may have any shapes. Raises SupernetError where a captured step cannot repeat random draws.
    """
    if not cell.training or not torch.is_grad_enabled():
        return function(*inputs)
    random = _draws(cell)
    if random and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise SupernetError(
            "network.checkpoint=true: this cell has random layers or edge connectors, whose draws a captured step "
            "cannot repeat; leave network.checkpoint out"
        )
    output: Tensor = checkpoint(
        function,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=random,  # reading the state of a GPU's generator is not possible in a captured step
        context_fn=lambda: (nullcontext(), _Again(cell)),
    )
    return output


class _Again(AbstractContextManager[None]):
    """Inside, what runs finds the buffers of `cell` as they were when this was made, and changes none of them.

    It may be entered again, as a second backward does.
    """

    def __init__(self, cell: nn.Module) -> None:
        self.cell = cell
        self._hooks = cell.hooks if isinstance(cell, MixedCell) else None
        # A layer of the user's own may read what it changes. The others have batch norms' buffers, read in evaluation.
        self._at_first = {
            module: {name: b.clone() for name, b in module._buffers.items() if b is not None}
            for module in cell.modules()
            if module._buffers and not isinstance(module, _BatchNorm)
        }
        self._observers: tuple[Observer, ...] = ()
        self._before: list[list[tuple[nn.Module, dict[str, Tensor | None], float | None]]] = []

    def __enter__(self) -> None:
        before = []
        for module in self.cell.modules():
            if not module._buffers:
                continue
            before.append((module, dict(module._buffers), getattr(module, "momentum", None)))
            if isinstance(module, _BatchNorm):
                # The statistics stay in place, since autograd keeps as many tensors as before: they move by nothing.
                module.momentum = 0.0
                module._buffers["num_batches_tracked"] = None
            else:
                module._buffers.update({name: b.clone() for name, b in self._at_first[module].items()})
        self._before.append(before)
        if self._hooks is not None:
            self._observers, self._hooks.observers = self._hooks.observers, ()  # they have seen it

    def __exit__(self, *_: object) -> None:
        if self._hooks is not None:
            self._hooks.observers = self._observers
        for module, buffers, momentum in self._before.pop():
            module._buffers.update(buffers)
            if isinstance(module, _BatchNorm):
                module.momentum = momentum


def _draws(cell: nn.Module) -> bool:
    """Whether a layer of `cell` may draw random numbers; layers of others and edge connectors are taken to do so."""
    if isinstance(cell, MixedCell) and cell.hooks is not None and cell.hooks.connectors:
        return True
    for module in cell.modules():
        name, home = type(module).__name__, type(module).__module__
        if home.startswith("torch.nn."):
            if any(word in name for word in RANDOM_LAYERS):
                return True
        elif isinstance(module, Noise) or not home.startswith("supernet."):
            return True
    return False
