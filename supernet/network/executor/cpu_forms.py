"""Stock operations by their quicker forms where there are some: depthwise.py, pointwise.py."""
# B batch, C channels, H height, W width

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import PreActivated
from .depthwise import depthwise, has_quick_form
from .pointwise import is_pointwise, pointwise

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["after_relu", "enter"]

_Step = tuple[Callable[[Any, Tensor], Tensor], nn.Module]


def after_relu(op: PreActivated, x: Tensor) -> Tensor:
    """`op` without its ReLU, for an `x` [B, C, H, W] that has been through one."""
    plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if plain or not x.is_contiguous(memory_format=torch.channels_last):
        for layer in op.behind_relu():
            x = layer(x)
        return x
    for form, layer in _steps(op, x):
        x = form(layer, x)
    return x


def _steps(op: PreActivated, x: Tensor) -> list[_Step]:
    """The layers behind the ReLU with their forms for the processor, found once: looking took 4 % of a search step."""
    layers = tuple(op._modules.values())
    kept: tuple[tuple[Any, ...], list[_Step]] | None = op.__dict__.get("quick_form")
    if kept is None or len(kept[0]) != len(layers) or any(a is not b for a, b in zip(kept[0], layers, strict=True)):
        kept = op.__dict__["quick_form"] = layers, [(_form(layer, x), layer) for layer in op.behind_relu()]
    return kept[1]


def _form(layer: nn.Module, x: Tensor) -> Callable[[Any, Tensor], Tensor]:
    if has_quick_form(layer, x):
        return depthwise
    return pointwise if is_pointwise(layer, x) else _as_it_is


def _as_it_is(layer: nn.Module, x: Tensor) -> Tensor:
    return cast(Tensor, layer(x))


def enter(cell: "MixedCell", x: Sequence[Tensor]) -> list[Tensor]:
    """`cell.enter(x)`: the cell's input states."""
    if not len(cell.preprocess):
        return list(x)
    return [
        after_relu(op, F.relu(state)) if isinstance(op, PreActivated) else op(state)
        for op, state in zip(cell.preprocess, x, strict=True)
    ]
