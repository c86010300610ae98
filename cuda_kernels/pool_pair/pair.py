"""Both poolings of a state and their statistics in one read: 3 x 3, padding 1, the average over real pixels only.

    pooled = (maximum, average)       mean[i], var[i] over B, H', W' (biased), rstd[i] = 1 / sqrt(var[i] + eps)

The statistics are those of the values as they are stored. Every edge that leaves the state has the same pools, so their
backward takes the upstream gradients of all nodes at once:

    m = sum_n factor[0, n] g[n] + b[0] pooled[0] + c[0]        a = sum_n factor[1, n] g[n] + b[1] pooled[1] + c[1]
    dx = maximum^T(m) + average^T(a) + sum_n factor[2, n] g[n]

where b and c are what goes through the statistics, and the last sum, for skip connections, is there at stride 1 only.
Of equal maxima the first in the order of rows and columns takes the gradient, of several NaN the last, as in PyTorch;
which one it is, is found again from x. Sums are float32, in an order that shapes and alignment fix.
"""
# B batch, C channels, H height, W width, H' and W' those of the output, n upstream gradients

import ctypes
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SupernetError
from .. import host
from ..addresses import pointer, table
from ..gpu.geometry import geometry
from ..gpu.kernel import Kernel
from ..gpu.launch import Launch, launch
from ..normalisation import statistics, statistics_coefficients
from ..operators import Context, Inputs, differentiable, fake, not_differentiable, operator
from ..tensors import STORAGE, accumulator, channels_last, check_activations, check_small, packed, pixels, room
from . import cpu

__all__ = ["pool_pair", "pool_pair_bwd", "pool_pair_bwd_reference", "pool_pair_reference"]

MOST_GRADIENTS = 16  # their factors are 6 KB of a block's 48 KB of shared memory
PARTIALS = 512  # blocks of the forward at most: four for each of a large GPU's multiprocessors
SOURCE = "pool_pair/pool_pair.cu"


def pool_pair_reference(x: Tensor, stride: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `pool_pair` computes of `x` [B, C, H, W], pool by pool; differentiable as often as one likes.

    Returns what was pooled [2, B, C, H', W'] and its mean, variance and 1 / deviation, each [2, C].
    """
    pools = (
        F.max_pool2d(x, 3, stride, padding=1),
        F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False),
    )
    wide = accumulator(x)
    mean, var, rstd = (torch.stack(y) for y in zip(*(statistics(y.to(wide), eps) for y in pools), strict=True))
    return torch.stack([y.permute(0, 2, 3, 1) for y in pools]).permute(0, 1, 4, 2, 3), mean, var, rstd


def pool_pair_bwd_reference(
    x: Tensor, pooled: Tensor, g: Sequence[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> Tensor:
    """What `pool_pair_bwd` computes, pool by pool: dx [B, C, H, W] of n upstream gradients `g` [B, C, H', W'].

    `x` is [B, C, H, W], `pooled` [2, B, C, H', W'], `factor` [3, n, C], `b` and `c` [2, C].
    """
    wide = factor.dtype
    m, a = (pooled[i].to(wide) * b[i].view(-1, 1, 1) + c[i].view(-1, 1, 1) for i in range(2))
    skip = torch.zeros_like(x, dtype=wide)
    for n, one in enumerate(g):
        m, a = (y + one * factor[i, n].view(-1, 1, 1) for i, y in enumerate((m, a)))
        if stride == 1:
            skip = skip + one * factor[2, n].view(-1, 1, 1)
    image, form = x.to(wide), ([3, 3], [stride, stride], [1, 1])  # window, stride, padding
    _, where = F.max_pool2d(image, 3, stride, padding=1, return_indices=True)
    highest = torch.ops.aten.max_pool2d_with_indices_backward(m, image, *form, [1, 1], False, where)
    average = torch.ops.aten.avg_pool2d_backward(a, image, *form, False, False, None)
    return channels_last((highest + average + skip).to(x.dtype))


@operator
def pool_pair(x: Tensor, stride: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(pooled [2, B, C, H', W'], each channels-last, mean [2, C], var [2, C], rstd [2, C]); H' = ceil(H / stride).

    `x` [B, C, H, W] is float32 or bf16 (float64 on the CPU); one that is not channels-last is copied. `stride` is 1 or
    2. Raises SupernetError for anything else.
    """
    _check(x, stride)
    x = channels_last(x)
    if x.is_cuda:
        out = _outputs(x, stride)
        launch(forward_launches(x, stride, eps, *out), x.device)
        return out
    if host.serves(x):
        return cpu.pool_pair(x, stride, eps)
    return pool_pair_reference(x, stride, eps)


@operator
def pool_pair_bwd(
    x: Tensor, pooled: Tensor, g: list[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> Tensor:
    """dx [B, C, H, W], channels-last, of the upstream gradients `g`: n tensors [B, C, H', W'], 1 to 16.

    `x` is [B, C, H, W], `pooled` [2, B, C, H', W']; `factor` [3, n, C] (maximum, average, skip), `b` and `c` [2, C] are
    float32 (float64 for an `x` of float64). Raises SupernetError for other shapes and types.
    """
    _check_backward(x, pooled, g, factor, b, c, stride)
    x, g = channels_last(x), [channels_last(y) for y in g]
    pooled = packed(pooled)
    factor, b, c = (y.contiguous() for y in (factor, b, c))
    if x.is_cuda:
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        launch(backward_launches(x, pooled, g, factor, b, c, stride, dx), x.device)
        return dx
    if host.serves(x):
        return cpu.pool_pair_bwd(x, pooled, g, factor, b, c, stride)
    return pool_pair_bwd_reference(x, pooled, g, factor, b, c, stride)


@fake("pool_pair")
def _(x: Tensor, stride: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check(x, stride)
    return _outputs(x, stride)


@fake("pool_pair_bwd")
def _(x: Tensor, pooled: Tensor, g: list[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int) -> Tensor:
    _check_backward(x, pooled, g, factor, b, c, stride)
    return torch.empty_like(x, memory_format=torch.channels_last)


class _Saved(Context, Protocol):
    """With what `pool_pair` was called."""

    stride: int


def _setup(ctx: _Saved, inputs: Inputs, output: tuple[Tensor, ...]) -> None:
    x, ctx.stride, _ = inputs
    pooled, mean, _, rstd = output
    ctx.save_for_backward(x, pooled, mean, rstd)


def _backward(
    ctx: _Saved, g: Tensor | None, g_mean: Tensor | None, g_var: Tensor | None, g_rstd: Tensor | None
) -> tuple[object, ...]:
    """An upstream gradient that is not finite reaches both pools: the other one takes it times 0."""
    x, pooled, mean, rstd = ctx.saved_tensors
    coef = statistics_coefficients(mean, rstd, g_mean, g_var, g_rstd, pixels(pooled[0]))
    g = torch.zeros_like(pooled) if g is None else g
    factor = mean.new_zeros((3, 2, x.shape[1]))
    factor[0, 0] = factor[1, 1] = 1.0
    return pool_pair_bwd(x, pooled, [*g], factor, coef[:, 1], coef[:, 2], ctx.stride), None, None


differentiable("pool_pair", _backward, _setup)
not_differentiable("pool_pair_bwd")


def _outputs(x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mean, var, rstd = (x.new_empty((2, x.shape[1]), dtype=accumulator(x)) for _ in range(3))
    return room(x, 2, stride), mean, var, rstd


def _check(x: Tensor, stride: int) -> None:
    check_activations("pool_pair", [("x", x)])
    if stride not in (1, 2):
        raise SupernetError(f"pool_pair: stride={stride}; 1 and 2 are allowed")
    if not x.numel() or pixels(x) >= 2**31:
        raise SupernetError(f"pool_pair of {tuple(x.shape)}: 1 to 2^31 - 1 pixels B * H * W are allowed")


def _check_backward(
    x: Tensor, pooled: Tensor, g: Sequence[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> None:
    _check(x, stride)
    if not 1 <= len(g) <= MOST_GRADIENTS:
        raise SupernetError(f"pool_pair_bwd of {len(g)} gradients: 1 to {MOST_GRADIENTS} are allowed; add some before")
    batch, channels, *size = x.shape
    shape = (2, batch, channels, *(-(-n // stride) for n in size))
    if tuple(pooled.shape) != shape or pooled.dtype != x.dtype:
        raise SupernetError(
            f"pool_pair_bwd takes pooled as {x.dtype} {shape}, not {pooled.dtype} {tuple(pooled.shape)}"
        )
    check_activations("pool_pair_bwd", [("pooled[0]", pooled[0]), *((f"g[{n}]", y) for n, y in enumerate(g))])
    check_small("pool_pair_bwd", [("factor", factor)], (3, len(g), channels), x)
    check_small("pool_pair_bwd", [("b", b), ("c", c)], (2, channels), x)


def forward_launches(
    x: Tensor, stride: int, eps: float, pooled: Tensor, mean: Tensor, var: Tensor, rstd: Tensor
) -> list[Launch]:
    """The two passes of the forward, with room for what the blocks of the first hand to the second.

    `x` [B, C, H, W], then what `pool_pair` returns.
    """
    channels, count = x.shape[1], pixels(pooled[0])
    form = geometry(channels, [x, pooled])
    rounds = -(-count // (form.rows * PARTIALS))
    share = form.rows * rounds
    blocks = -(-count // share)
    partial = mean.new_empty((blocks, 2, 2, channels))
    first = Kernel(SOURCE, f"pool_pair_fwd<{STORAGE[x.dtype]}, {channels}, {form.vector}, {stride}>")
    second = Kernel(SOURCE, f"pool_pair_finish<{channels}>")
    sizes = tuple(map(ctypes.c_int, (*x.shape[2:], count, share)))
    arguments = (pointer(x), pointer(pooled), pointer(partial), *sizes)
    finish = (pointer(partial), *map(ctypes.c_int, (blocks, count, share)), ctypes.c_float(eps))
    tiles = -(-channels // min(1 << (channels - 1).bit_length(), 8))  # COLUMNS of pool_pair_finish
    return [
        Launch(first, (blocks, form.tiles, 1), arguments, holds=(partial,)),
        Launch(second, (2, tiles, 1), (*finish, *map(pointer, (mean, var, rstd))), holds=(partial,)),
    ]


def backward_launches(
    x: Tensor, pooled: Tensor, g: Sequence[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int, dx: Tensor
) -> list[Launch]:
    """The kernel that writes `dx` [B, C, H, W]; arguments as of `pool_pair_bwd`, all channels-last."""
    batch, channels, height, width = x.shape
    form = geometry(channels, [x, pooled, *g, dx], widest=32)
    down = max(8, form.rows // 8)  # pixels of a block, 8 across: Patch of pool_pair.cu
    sizes = f"{STORAGE[x.dtype]}, {len(g)}, {channels}, {form.vector}, {stride}"
    small = map(pointer, (factor, b, c, dx))
    arguments = (pointer(x), pointer(pooled), table(g), *small, *map(ctypes.c_int, (batch, height, width)))
    blocks = batch * -(-height // down) * -(-width // 8)
    return [Launch(Kernel(SOURCE, f"pool_pair_bwd<{sizes}>"), (blocks, form.tiles, 1), arguments)]
