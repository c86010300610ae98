"""Alternatives for an `nn.Conv2d`: another kernel, a separable one, an operation of the registry.

    kernel(k)       the centre of the weights, or the weights with zeros around: with those it is the same function
    depthwise       W[o, i] ~ pointwise[o, i] * depthwise[i], of rank 1 for each input channel, the closest there is
    operation(name) ReLU-conv-BN forms of the literature, drawn anew

Grown kernels pad by as much more, so that the output keeps its size: p' = p + dilation (k' - k) / 2.
"""
# I input channels, O output channels, K kernel area

from collections.abc import Callable

import torch
from torch import nn

from ...errors import SupernetError
from ...ops import OPERATIONS
from ...ops import operation as make_operation
from .low_rank import low_rank
from .marks import written

__all__ = ["convolution", "depthwise", "kernel", "operation"]

Adapter = Callable[[nn.Module], nn.Module | None]


def kernel(size: int) -> Adapter:
    """The convolution with a kernel of `size` x `size`, stride and output size as before; for any nn.Conv2d.

    It starts from the original's weights: the centre of them, or, where `size` is larger, all with zeros around, which
    is the same function (but not for a class that standardises its weights, such as timm's ScaledStdConv2d).
    Left out where the original has this size. Raises SupernetError where no padding keeps the output's size: for sizes
    that differ by an odd number, and for a padding smaller than what has to be taken away.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise SupernetError(f"kernel({size!r}): the size is a whole number >= 1")

    def adapt(original: nn.Module) -> nn.Module | None:
        conv = convolution(original, f"kernel({size})")
        old = conv.weight.detach()
        growth = [size - k for k in old.shape[2:]]
        if not any(growth):
            return None
        _repad(conv, growth, size)
        weight = old.new_zeros((*old.shape[:2], size, size))
        rows, columns = (slice(max(g, 0) // 2, max(g, 0) // 2 + min(size, size - g)) for g in growth)
        from_rows, from_columns = (slice(max(-g, 0) // 2, max(-g, 0) // 2 + min(size, size - g)) for g in growth)
        weight[:, :, rows, columns] = old[:, :, from_rows, from_columns]
        conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        conv.kernel_size = (size, size)
        return conv

    return written(adapt, kernel=size)


def depthwise(original: nn.Module) -> nn.Module | None:
    """A depthwise convolution of the original's kernel and stride, then a pointwise one; for ungrouped nn.Conv2d.

    It starts as the separable convolution closest to the original, in the squares of the weights. Left out for
    convolutions that are depthwise or pointwise already.
    """
    conv = convolution(original, "depthwise")
    if conv.groups == conv.in_channels > 1 or conv.kernel_size == (1, 1):
        return None
    if conv.groups > 1:
        raise SupernetError(f"depthwise takes an ungrouped convolution, not one of {conv.groups} groups")
    weight_OIK = conv.weight.detach().flatten(2)
    across_IO1, along_I1K = low_rank(weight_OIK.transpose(0, 1), 1)
    pointwise = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
    with torch.no_grad():
        pointwise.weight.copy_(across_IO1.squeeze(2).t()[:, :, None, None])
        if conv.bias is not None and pointwise.bias is not None:
            pointwise.bias.copy_(conv.bias)
    conv.weight = nn.Parameter(along_I1K.unflatten(2, conv.kernel_size))
    conv.out_channels, conv.groups, conv.bias = conv.in_channels, conv.in_channels, None
    return nn.Sequential(conv, pointwise)


def operation(name: str) -> Adapter:
    """The operation `name` of `supernet.ops`, such as "sep_conv_3x3"; for an nn.Conv2d of stride 1 or 2.

    Operations open with a ReLU and end with a batch norm, have no bias and give ceil(size / stride). Drawn anew. Raises
    SupernetError for an unknown name.
    """
    _ = OPERATIONS[name]

    def adapt(original: nn.Module) -> nn.Module:
        conv = convolution(original, f"operation({name!r})")
        if len(set(conv.stride)) > 1:
            raise SupernetError(f"operation({name!r}) takes one stride for both axes, not {conv.stride}")
        return make_operation(name, conv.in_channels, conv.out_channels, stride=conv.stride[0])

    return written(adapt, operation=name)


def convolution(module: nn.Module, who: str, takes: str = "an nn.Conv2d") -> nn.Conv2d:
    """`module` as an nn.Conv2d with zero padding and weights of its own; raises SupernetError where it is none."""
    if not isinstance(module, nn.Conv2d) or not isinstance(module.weight, nn.Parameter):
        raise SupernetError(f"{who} takes {takes}, not {type(module).__name__}")
    if module.padding_mode != "zeros":
        raise SupernetError(f"{who} takes a convolution padded with zeros, not padding_mode={module.padding_mode!r}")
    return module


def _repad(conv: nn.Conv2d, growth: list[int], size: int) -> None:
    """Padding that keeps the output's size when the kernel grows by `growth`."""
    more = [dilation * g for dilation, g in zip(conv.dilation, growth, strict=True)]
    if any(m % 2 for m in more):
        raise SupernetError(
            f"kernel({size}) for a kernel of {conv.kernel_size}: the sizes must differ by an even number"
        )
    if conv.padding == "same" or type(conv).__name__.endswith("Same"):  # timm's Conv2dSame pads as the input needs
        return
    old = (0, 0) if isinstance(conv.padding, str) else conv.padding
    padding = tuple(p + m // 2 for p, m in zip(old, more, strict=True))
    if min(padding) < 0:
        raise SupernetError(
            f"kernel({size}) for a kernel of {conv.kernel_size} padded by {conv.padding}: the output would grow"
        )
    conv.padding = (padding[0], padding[1])
