"""Networks in the channels_last memory format, and the convolution that oneDNN cannot take in it.

The weight gradient of a 1x1 convolution of stride 2 or more, in channels_last on a processor and with fewer input
channels than one of oneDNN's blocks (8 with AVX2, 16 with AVX-512), writes outside its memory: plain torch 2.14 ends in
SIGSEGV, "double free" or "corrupted size" within ten backwards of `conv2d` for [8, 4, 64, 64] by [4, 4, 1, 1]. The
contiguous format is served by other code, and right. So these layers, and no others, keep contiguous weights and are
handed contiguous inputs; what follows them goes on in channels_last.
"""
# B batch, C channels, H height, W width, O output channels, I input channels of a group, K kernel size

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["FEW_CHANNELS", "keep_contiguous", "picked_pixels", "to_channels_last", "unsafe_in_channels_last"]

FEW_CHANNELS = 16  # the largest block; from it on a sweep over 1 to 40 channels was right


def unsafe_in_channels_last(weight: Tensor, stride: Sequence[int]) -> bool:
    """Whether a convolution by `weight` [O, I, K, K] with this stride must not run in channels_last on a processor."""
    pointwise = weight.dim() == 4 and tuple(weight.shape[2:]) == (1, 1)
    return pointwise and max(stride) > 1 and weight.shape[1] < FEW_CHANNELS


def picked_pixels(x: Tensor, stride: Sequence[int]) -> Tensor:
    """The pixels of `x` [B, C, H, W] that a 1x1 convolution of this stride reads: a convolution of stride 1 over them
    computes the same, and is safe in every format."""
    return x[:, :, :: stride[0], :: stride[1]]


def to_channels_last(net: nn.Module) -> nn.Module:
    """`net` itself with its weights in channels_last, but for the convolutions that must stay contiguous.

    Call it in place of `net.to(memory_format=torch.channels_last)`, for a user's or timm's network as for our own.
    """
    net.to(memory_format=torch.channels_last)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and unsafe_in_channels_last(layer.weight, layer.stride):
            keep_contiguous(layer)
    return net


@torch.no_grad()
def keep_contiguous(layer: nn.Conv2d) -> None:
    """Gives `layer` contiguous weights and, once, a hook that makes its inputs so where it lies on a processor."""
    weight = layer.weight
    # A new storage: for a 1x1 weight both formats count as contiguous, but the strides decide which one torch takes.
    weight.data = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device).copy_(weight)
    if _contiguous_input not in layer._forward_pre_hooks.values():
        layer.register_forward_pre_hook(_contiguous_input)


def _contiguous_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The input [B, C, H, W] of a layer in the contiguous format; on a GPU as it is, where every format is served."""
    if not isinstance(layer.weight, Tensor) or not layer.weight.is_cpu:
        return inputs
    x, *more = inputs
    return (x.contiguous(), *more)
