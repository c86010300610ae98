"""Stock operations by their quicker forms where there are some: depthwise.py, pointwise.py."""
# B batch, C channels, H height, W width

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import PreActivated
from .depthwise import depthwise, has_quick_form
from .pointwise import is_pointwise, pointwise

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["after_relu", "enter"]

_Step = Callable[[Tensor], Tensor]


class _QuickForm(NamedTuple):
    """The steps behind an operation's ReLU, and the layers that it had when they were made."""

    layers: tuple[nn.Module | None, ...]
    steps: list[_Step]


def after_relu(op: PreActivated, x: Tensor) -> Tensor:
    """The output [B, C', H', W'] of `op` without its ReLU, for an `x` [B, C, H, W] that has been through one."""
    plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if plain or not x.is_contiguous(memory_format=torch.channels_last):
        for layer in op.behind_relu():
            x = layer(x)
        return x
    for step in _steps(op, x):
        x = step(x)
    return x


def _steps(op: PreActivated, x: Tensor) -> list[_Step]:
    """The layers behind the ReLU in their forms for the processor, noted at `op`: looking took 4 % of a search step."""
    layers = tuple(op._modules.values())
    known: _QuickForm | None = op.__dict__.get("quick_form")
    if known is None or len(known.layers) != len(layers) or any(map(operator.is_not, known.layers, layers)):
        known = op.__dict__["quick_form"] = _QuickForm(layers, [_step(layer, x) for layer in op.behind_relu()])
    return known.steps


def _step(layer: nn.Module, x: Tensor) -> _Step:
    if isinstance(layer, nn.Conv2d) and has_quick_form(layer, x):
        return partial(depthwise, layer)
    if isinstance(layer, nn.Conv2d) and is_pointwise(layer, x):
        return partial(pointwise, layer)
    return layer


def enter(cell: "MixedCell", x: Sequence[Tensor]) -> list[Tensor]:
    """`cell.enter(x)`: the cell's input states [B, C, H, W] of what it is given, each [B, C', H', W']."""
    if not len(cell.preprocess):
        return list(x)
    return [
        after_relu(op, F.relu(state)) if isinstance(op, PreActivated) else op(state)
        for op, state in zip(cell.preprocess, x, strict=True)
    ]
