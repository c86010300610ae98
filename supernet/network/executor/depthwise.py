"""Depthwise convolution with a quicker backward on the processor, out of stock convolutions.

With x [B, C, H, W], one k x k filter a channel, stride 1, dilation d and padding d (k // 2):

    y[i]  = sum_t w[t] x[i + d (t - k // 2)]
    dx    = the same convolution of g with w turned by 180 degrees, since the output is as large as the input
    dw[t] = sum_i g[i] x[i + d (t - k // 2)]

oneDNN's depthwise kernels serve every forward pass, but of the backward passes only those without dilation and, for
dw, at most three columns wide; the others fall back to general ones, 3 to 50 times slower (torch 2.14, AMD EPYC). So
dx is a forward pass, and dw is taken three columns at a time, on the d x d grids into which dilation splits the image.
Where the stride equals the dilation, only one of these grids is ever read, so it is taken beforehand.
"""
# B batch, C channels, H height, W width, k kernel, d dilation

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_weight

__all__ = ["depthwise", "has_quick_form"]

COLUMNS = 3  # the widest filter whose dw oneDNN has a depthwise kernel for


def has_quick_form(layer: nn.Module, x: Tensor) -> bool:
    """Whether `depthwise(layer, x)` computes what `layer(x)` does for `x` [B, C, H, W], with a quicker backward."""
    if not isinstance(layer, nn.Conv2d) or layer.groups == 1 or x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):  # the backward would run outside it, with tensors of two types
        return False
    k, s, d = layer.kernel_size[0], layer.stride[0], layer.dilation[0]
    return (
        k % 2 == 1
        and s in (1, d)
        and (k > COLUMNS or d > 1)  # else oneDNN has a kernel for everything
        and layer.groups == layer.in_channels == layer.out_channels
        and (layer.kernel_size, layer.stride, layer.dilation) == ((k, k), (s, s), (d, d))
        and (layer.padding, layer.padding_mode) == ((d * (k // 2),) * 2, "zeros")
        and layer.bias is None
    )


def depthwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`layer(x)` [B, C, H', W'] for `x` [B, C, H, W]; `layer` is one that `has_quick_form`."""
    stride, dilation = layer.stride[0], layer.dilation[0]
    if stride > 1:
        x, dilation = x[:, :, ::stride, ::stride], 1
    return _Depthwise.apply(x, layer.weight, dilation)


class _Context(FunctionCtx):
    """What the forward leaves for the backward."""

    dilation: int
    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]


class _Depthwise(torch.autograd.Function):
    """The backward is differentiable itself: it consists of convolutions."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, w: Tensor, dilation: int) -> Tensor:
        ctx.dilation = dilation
        ctx.save_for_backward(w, *([x] if ctx.needs_input_grad[1] else []))
        return _convolve(x, w, dilation)

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        w, *x = ctx.saved_tensors  # x where w learns
        dx = _convolve(g, w.flip(2, 3), ctx.dilation) if ctx.needs_input_grad[0] else None
        return dx, _filter_gradient(x[0], g, w.shape[-1], ctx.dilation) if x else None, None


def _convolve(x: Tensor, w: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, w, padding=dilation * (w.shape[-1] // 2), dilation=dilation, groups=w.shape[0])


def _filter_gradient(x: Tensor, g: Tensor, k: int, dilation: int) -> Tensor:
    """dw [C, 1, k, k] of the input `x` and the output's gradient `g`, both [B, C, H, W]."""
    if dilation > 1:
        x, g = _grids(x, dilation), _grids(g, dilation)
    c, width, pad = x.shape[1], x.shape[-1], k // 2
    if k <= COLUMNS:
        return conv2d_weight(x, (c, 1, k, k), g, padding=pad, groups=c)
    x, parts = F.pad(x, (pad, pad)), []
    for first in range(0, k, COLUMNS):
        n = min(COLUMNS, k - first)
        seen = x[..., first : first + width + n - 1]  # what columns first .. first + n - 1 of the filter see
        parts.append(conv2d_weight(seen, (c, 1, k, n), g, padding=(pad, 0), groups=c))
    return torch.cat(parts, dim=3)


def _grids(x: Tensor, d: int) -> Tensor:
    """[B, C, H, W] to [B d d, C, H / d, W / d], one grid a remainder; zeros fill up sizes that d does not divide."""
    height, width = x.shape[-2:]
    if height % d or width % d:
        x = F.pad(x, (0, -width % d, 0, -height % d))
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, d)).unflatten(1, (-1, d))  # B, H / d, d, W / d, d, C
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)
