"""The compiled CPU bodies as functions of tensors, one for each operator and with its signature.

They take float32 tensors on the CPU, allocate what they return and leave checks to the operators.
"""
# B batch, C channels, H height, W width, n branches, T terms

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from .host import library
from .separable import channels_last, packed, room

__all__ = [
    "edge_group",
    "edge_group_bwd",
    "node_mix",
    "node_mix_bwd_reduce",
    "node_mix_shuffled",
    "pool_pair",
    "pool_pair_bwd",
    "sep_second",
    "sep_second_bwd",
]

Statistics = tuple[Tensor, Tensor, Tensor, Tensor]


def edge_group(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> Statistics:  # fmt: skip
    return _forward([x], (None,) * 3, dw, pw, dilation, stride, eps, gate)


def sep_second(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor],
    eps: float, gate: Tensor | None = None,
) -> Statistics:  # fmt: skip
    return _forward(z1, (mean, scale, shift), dw, pw, [1] * len(z1), 1, eps, gate)


def _forward(
    x: Sequence[Tensor], affine: Sequence[Tensor | None], dw: Sequence[Tensor], pw: Sequence[Tensor],
    dilation: Sequence[int], stride: int, eps: float, gate: Tensor | None,
) -> Statistics:  # fmt: skip
    x = [channels_last(t) for t in x]
    n, c = len(dw), x[0].shape[1]
    z = room(x[0], n, stride)
    mean, var, rstd = (x[0].new_zeros((n, c)) for _ in range(3))
    before, (gate,) = _plain(affine), _plain((gate,))
    dw, pw = _flat(dw), _flat(pw)
    library().separable_forward(
        torch.get_num_threads(), _ints([*x[0].shape, stride, n]), _table(x), *map(_at, before), _table(dw),
        _ints([t.shape[-1] for t in dw]), _ints(dilation), _table(pw), _at(gate), ctypes.c_double(eps),
        *map(_at, (z, mean, var, rstd)),
    )  # fmt: skip
    return z, mean, var, rstd


def edge_group_bwd(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int, g: Sequence[Tensor],
    z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    ddw, dpw = _backward([x], (None,) * 4, dw, pw, dilation, stride, g, z, coef, add, weights, gate, dx, (None,) * 3)
    return dx, ddw, dpw


def sep_second_bwd(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, dw: Sequence[Tensor],
    pw: Sequence[Tensor], g: Sequence[Tensor], z2: Tensor, coef: Tensor, weights: bool, gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    m, c = mean.shape
    d1 = room(z1[0], m, 1)
    small = mean.new_empty((m, 3, c)), mean.new_empty((m, c)), mean.new_empty((m, c))
    before = mean, scale, shift, rstd
    ddw, dpw = _backward(z1, before, dw, pw, [1] * m, 1, g, z2, coef, None, weights, gate, d1, small)
    return d1, *small, ddw, dpw


def _backward(
    x: Sequence[Tensor], before: Sequence[Tensor | None], dw: Sequence[Tensor], pw: Sequence[Tensor],
    dilation: Sequence[int], stride: int, g: Sequence[Tensor], z: Tensor, coef: Tensor, add: Tensor | None,
    weights: bool, gate: Tensor | None, dx: Tensor, small: Sequence[Tensor | None],
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    x, g, z = [channels_last(t) for t in x], [channels_last(t) for t in g], packed(z)
    add = None if add is None else channels_last(add)
    before, (gate,), coef = _plain(before), _plain((gate,)), coef.contiguous()
    dw, pw = _flat(dw), _flat(pw)
    ddw, dpw = ([torch.empty_like(t) for t in dw], [torch.empty_like(t) for t in pw]) if weights else ([], [])
    library().separable_backward(
        torch.get_num_threads(), _ints([*x[0].shape, stride, len(dw)]), _table(x), *map(_at, before), _table(dw),
        _ints([t.shape[-1] for t in dw]), _ints(dilation), _table(pw), _at(gate), _table(g),
        *map(_at, (z, coef, add, dx, *small)), _table(ddw) if weights else None, _table(dpw) if weights else None,
    )  # fmt: skip
    return ddw, dpw


def pool_pair(x: Tensor, stride: int, eps: float) -> Statistics:
    x = channels_last(x)
    pooled = room(x, 2, stride)
    mean, var, rstd = (x.new_empty((2, x.shape[1])) for _ in range(3))
    library().pool_pair(
        torch.get_num_threads(), _ints([*x.shape, stride]), _at(x), ctypes.c_double(eps),
        *map(_at, (pooled, mean, var, rstd)),
    )  # fmt: skip
    return pooled, mean, var, rstd


def pool_pair_bwd(
    x: Tensor, pooled: Tensor, g: Sequence[Tensor], factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> Tensor:
    x, pooled, g = channels_last(x), packed(pooled), [channels_last(t) for t in g]
    factor, b, c = (t.contiguous() for t in (factor, b, c))
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    library().pool_pair_bwd(
        torch.get_num_threads(), _ints([*x.shape, stride, len(g)]), _at(x), _at(pooled), _table(g),
        *map(_at, (factor, b, c, dx)),
    )  # fmt: skip
    return dx


def node_mix(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None = None
) -> Tensor:
    z = [channels_last(t) for t in z]
    small = _plain((mean, scale, shift, p, gate))
    out = torch.empty_like(z[0], memory_format=torch.channels_last)
    library().node_mix(torch.get_num_threads(), _mixed(z), _table(z), *map(_at, small), _at(out))
    return out


def node_mix_bwd_reduce(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None = None,
) -> Statistics:  # fmt: skip
    g, z = channels_last(g), [channels_last(t) for t in z]
    small = _plain((mean, scale, shift, rstd, p, gate))
    terms, c = mean.shape
    out = p.new_zeros(terms), mean.new_empty(c), mean.new_zeros((terms, c)), mean.new_zeros((terms, 3, c))
    library().node_mix_bwd_reduce(
        torch.get_num_threads(), _mixed(z), _at(g), _table(z), *map(_at, small), *map(_at, out)
    )
    return out


def node_mix_shuffled(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor,
    bypass: Sequence[Tensor], beta: Tensor, k: int,
) -> Tensor:  # fmt: skip
    z, bypass = [channels_last(t) for t in z], [channels_last(t) for t in bypass]
    small, beta = _plain((mean, scale, shift, p)), beta.contiguous()
    out = torch.empty_like(bypass[0], memory_format=torch.channels_last)
    b, c, h, w = z[0].shape
    library().node_mix_shuffled(
        torch.get_num_threads(), _ints([b * h * w, c, len(z), len(bypass), k]), _table(z), *map(_at, small),
        _table(bypass), _at(beta), _at(out),
    )  # fmt: skip
    return out


def _mixed(z: Sequence[Tensor]) -> ctypes.Array[ctypes.c_int]:
    b, c, h, w = z[0].shape
    return _ints([b * h * w, c, len(z)])


def _plain(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in tensors]


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.contiguous() for t in tensors]


def _at(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _table(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])


def _ints(values: Sequence[int]) -> ctypes.Array[ctypes.c_int]:
    return (ctypes.c_int * len(values))(*values)
