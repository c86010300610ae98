"""The compiled CPU bodies of the pools as functions of tensors.

They take float32 tensors on the CPU, allocate what they return and leave checks to the operators.
"""
# B batch, C channels, H height, W width, H' and W' those of the output, n upstream gradients

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ..addresses import ints, pointer, table
from ..host import library
from ..tensors import channels_last, packed, room

__all__ = ["pool_pair", "pool_pair_bwd"]


def pool_pair(x: Tensor, stride: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(pooled [2, B, C, H', W'], mean [2, C], var [2, C], rstd [2, C]) of `x` [B, C, H, W]."""
    x = channels_last(x)
    pooled = room(x, 2, stride)
    mean, var, rstd = (x.new_empty((2, x.shape[1])) for _ in range(3))
    out = map(pointer, (pooled, mean, var, rstd))
    library().pool_pair(torch.get_num_threads(), ints([*x.shape, stride]), pointer(x), ctypes.c_double(eps), *out)
    return pooled, mean, var, rstd


def pool_pair_bwd(
    x: Tensor, pooled: Tensor, g: Sequence[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> Tensor:
    """dx [B, C, H, W] of n tensors `g` [B, C, H', W'], with `factor` [3, n, C], `b` and `c` [2, C]."""
    x, pooled, g = channels_last(x), packed(pooled), [channels_last(t) for t in g]
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    factor, b, c = (t.contiguous() for t in (factor, b, c))
    sizes, tail = ints([*x.shape, stride, len(g)]), map(pointer, (factor, b, c, dx))
    library().pool_pair_bwd(torch.get_num_threads(), sizes, pointer(x), pointer(pooled), table(g), *tail)
    return dx
