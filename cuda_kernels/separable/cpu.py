"""The compiled CPU bodies of separable convolutions as functions of tensors.

They take float32 tensors on the CPU, allocate what they return and leave checks to the operators.
"""
# B batch, C channels, H height, W width, n branches

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ..addresses import ints, pointer, table
from ..host import library
from ..tensors import channels_last, contiguous, room
from .branches import Branches, Norm, Outputs, Upstream, weights_like

__all__ = ["edge_group", "edge_group_bwd", "sep_second", "sep_second_bwd"]

Optional = Sequence[Tensor | None]


def edge_group(x: Tensor, branches: Branches, stride: int, eps: float) -> Outputs:
    """The compiled body of `edge_group` for `x` [B, C, H, W]."""
    return _forward([x], (None,) * 3, branches, stride, eps)


def sep_second(z1: Sequence[Tensor], norm: Optional, branches: Branches, eps: float) -> Outputs:
    """The compiled body of `sep_second` for `z1`, n tensors [B, C, H, W]; `norm`: mean, scale, shift [n, C]."""
    return _forward(z1, norm, branches, 1, eps)


def _forward(x: Sequence[Tensor], norm: Optional, branches: Branches, stride: int, eps: float) -> Outputs:
    x, norm, branches = [channels_last(t) for t in x], [contiguous(t) for t in norm], branches.contiguous()
    n, c = len(branches.dw), x[0].shape[1]
    out = Outputs(room(x[0], n, stride), *(x[0].new_zeros((n, c)) for _ in range(3)))
    library().separable_forward(
        torch.get_num_threads(),
        ints([*x[0].shape, stride, n]),
        table(x),
        *map(pointer, norm),
        *_weights(branches),
        pointer(branches.gate),
        ctypes.c_double(eps),
        *map(pointer, out),
    )
    return out


def edge_group_bwd(
    x: Tensor, branches: Branches, stride: int, upstream: Upstream, add: Tensor | None, weights: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The compiled body of `edge_group_bwd` for `x` and `add` [B, C, H, W]: (dx [B, C, H, W], ddw, dpw)."""
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    add = None if add is None else channels_last(add)
    return dx, *_backward([x], (None,) * 4, branches, stride, upstream, weights, (add, dx, None, None, None))


def sep_second_bwd(
    z1: Sequence[Tensor], norm: Norm, branches: Branches, upstream: Upstream, weights: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """The compiled body of `sep_second_bwd` for `z1`, n tensors [B, C, H, W].

    (d1 [n, B, C, H, W], coef1 [n, 3, C], sum_d [n, C], sum_dz [n, C], ddw, dpw)
    """
    n, c = norm.mean.shape
    d1 = room(z1[0], n, 1)
    small = norm.mean.new_empty((n, 3, c)), norm.mean.new_empty((n, c)), norm.mean.new_empty((n, c))
    return d1, *small, *_backward(z1, norm, branches, 1, upstream, weights, (None, d1, *small))


def _backward(
    x: Sequence[Tensor], norm: Optional, branches: Branches, stride: int, upstream: Upstream, weights: bool,
    out: Optional,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """(ddw, dpw); `out` are what is added to the data gradient, that gradient and the three small sums."""
    x, norm = [channels_last(t) for t in x], [contiguous(t) for t in norm]
    branches, upstream = branches.contiguous(), upstream.in_order()
    ddw, dpw = weights_like(branches.dw, branches.pw, weights)
    library().separable_backward(
        torch.get_num_threads(),
        ints([*x[0].shape, stride, len(branches.dw)]),
        table(x),
        *map(pointer, norm),
        *_weights(branches),
        pointer(branches.gate),
        table(upstream.g),
        *map(pointer, (upstream.z, upstream.coef, *out)),
        table(ddw) if weights else None,
        table(dpw) if weights else None,
    )
    return ddw, dpw


def _weights(branches: Branches) -> tuple[object, ...]:
    sizes = [k for k, _ in branches.filters]
    return table(branches.dw), ints(sizes), ints(branches.dilation), table(branches.pw)
