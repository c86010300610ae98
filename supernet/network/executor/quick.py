"""Stock operations by their quicker forms where there are some: depthwise.py, pointwise.py."""
# B batch, C channels, H height, W width

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor, nn

from supernet.ops import PreActivated

from .depthwise import depthwise, has_quick_form
from .pointwise import is_pointwise, pointwise

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["after_relu", "enter"]


def after_relu(op: PreActivated, x: Tensor) -> Tensor:
    """`op` without its ReLU, for an `x` [B, C, H, W] that has been through one."""
    for layer in op.behind_relu():
        if has_quick_form(layer, x):
            x = depthwise(cast(nn.Conv2d, layer), x)
        elif is_pointwise(layer, x):
            x = pointwise(cast(nn.Conv2d, layer), x)
        else:
            x = layer(x)
    return x


def enter(cell: "MixedCell", x: Sequence[Tensor]) -> list[Tensor]:
    """`cell.enter(x)`: the cell's input states."""
    if not len(cell.preprocess):
        return list(x)
    return [
        after_relu(op, F.relu(state)) if isinstance(op, PreActivated) else op(state)
        for op, state in zip(cell.preprocess, x, strict=True)
    ]
