"""Which candidates are separable convolutions as the fused operators serve them, and the halves of these.

sep_conv = ReLU, half, ReLU, half        dil_conv = ReLU, half        half = depthwise, pointwise, batch norm
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ...ops import PreActivated

__all__ = ["Half", "separable_halves"]

KERNELS = (3, 5, 7)


class Half(NamedTuple):
    """Depthwise and pointwise convolution and the norm behind them."""

    depthwise: nn.Conv2d
    pointwise: nn.Conv2d
    norm: nn.BatchNorm2d


def separable_halves(op: nn.Module, stride: int) -> list[Half]:
    """The one or two halves of a separable candidate of this `stride`; empty for all that the kernels do not serve."""
    layers = op.behind_relu() if isinstance(op, PreActivated) else []
    twice = len(layers) == 7 and type(layers[3]) is nn.ReLU
    first = _half(layers[:3] if twice else layers, stride, dilations=(1,) if twice else (1, 2))
    if not twice:
        return [] if first is None else [first]
    second = _half(layers[4:], 1, dilations=(1,))
    return [] if first is None or second is None else [first, second]


def _half(layers: Sequence[nn.Module], stride: int, dilations: Sequence[int]) -> Half | None:
    if len(layers) != 3:
        return None
    depthwise, pointwise, norm = layers
    if not (type(depthwise) is nn.Conv2d and type(pointwise) is nn.Conv2d and type(norm) is nn.BatchNorm2d):
        return None
    served = _serves_depthwise(depthwise, stride, dilations) and _serves_pointwise(pointwise, depthwise.in_channels)
    return Half(depthwise, pointwise, norm) if served else None


def _serves_depthwise(layer: nn.Conv2d, stride: int, dilations: Sequence[int]) -> bool:
    k, d = layer.kernel_size[0], layer.dilation[0]
    return (
        k in KERNELS
        and d in dilations
        and (layer.kernel_size, layer.stride, layer.dilation) == ((k, k), (stride, stride), (d, d))
        and (layer.padding, layer.padding_mode) == ((d * (k // 2),) * 2, "zeros")
        and layer.groups == layer.in_channels == layer.out_channels
        and layer.bias is None
    )


def _serves_pointwise(layer: nn.Conv2d, channels: int) -> bool:
    return (
        layer.in_channels == layer.out_channels == channels
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        and layer.groups == 1
        and layer.bias is None
    )
