"""Which kernels make up the backward of edge_group and sep_second: the tiles, the grids, the room between two passes.

The data gradient is one kernel. The weight gradients are two: blocks, several a branch, write their sums, and a second
kernel adds these in a fixed order. How many blocks there are depends on shapes alone, so the bits do as well.
"""
# B batch, C channels, H height, W width, n branches, k size of a filter

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..addresses import Addresses, Argument, pointer
from ..gpu.kernel import Kernel
from ..gpu.launch import THREADS, Launch
from ..tensors import STORAGE, pixels
from .branches import Branches, Norm, Upstream

__all__ = ["SecondGradients", "edge_group_bwd_launches", "sep_second_bwd_launches"]

MOST_BRANCHES = 64  # of one launch: backward.cuh
SHARED = 48 * 1024  # bytes of a block's own memory
ROOM = 32 << 20  # bytes between the two passes of the weight gradients, at most
BLOCKS = 528  # of the weights' first pass, about: four for each of a large GPU's multiprocessors
RESIDENT = 264  # blocks of the data gradient that run at once there: two on each of 132 multiprocessors
# Sources and how the names of their kernels begin.
EDGE = Kernel("separable/edge_group_bwd.cu", "edge_group_bwd")
SECOND = Kernel("separable/sep_second_bwd.cu", "sep_second_bwd")

# TH x TW pixels and TC channels; four channels and at most four pixels a thread, at stride 2 just four.
DATA_TILES = ((8, 32, 16), (16, 16, 16), (8, 16, 32), (8, 8, 64), (8, 16, 16), (8, 8, 32), (8, 8, 16))
# One channel and at most eight pixels a thread.
WEIGHT_TILES = ((8, 16, 16), (8, 8, 32), (4, 16, 16), (8, 8, 16), (4, 8, 16), (4, 4, 16))


@dataclass(frozen=True)
class Shape:
    """What the kernels are compiled for, and the sizes of the data."""

    x: tuple[int, ...]  # B, C, H, W of the gradient that is computed
    dtype: torch.dtype
    vector: int  # 4 channels at a time, or 1
    stride: int
    filters: tuple[tuple[int, int], ...]  # (k, dilation) of each branch

    @property
    def mask(self) -> int:
        """A bit for each kind of filter that occurs."""
        return sum(1 << kind for kind in set(self.kinds))

    @property
    def kinds(self) -> list[int]:
        return [k // 2 - 1 + 3 * (dilation - 1) for k, dilation in self.filters]

    @property
    def kernel(self) -> int:
        return max(k for k, _ in self.filters)

    @property
    def padding(self) -> int:
        return max(k // 2 * dilation for k, dilation in self.filters)

    @property
    def size(self) -> int:
        """Bytes of a stored value."""
        return self.dtype.itemsize

    @property
    def out(self) -> tuple[int, int]:
        """H', W'."""
        return -(-self.x[2] // self.stride), -(-self.x[3] // self.stride)


class BranchTable(ctypes.Structure):
    """`Branches` of backward.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("g", "z", "dw", "pw")),
        ("shape", ctypes.c_ubyte * MOST_BRANCHES),
    )


class GradientTable(ctypes.Structure):
    """`Gradients` of weights.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("dw", "pw")),
        ("shape", ctypes.c_ubyte * MOST_BRANCHES),
    )


class MiddleTable(ctypes.Structure):
    """`Middles` of sep_second_bwd.cu."""

    _fields_ = tuple((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("z1", "d1"))


class SecondGradients(NamedTuple):
    """What `sep_second_bwd` returns."""

    d1: Tensor  # [m, B, C, H, W]
    coef1: Tensor  # [m, 3, C]
    sum_d: Tensor  # [m, C]
    sum_dz: Tensor  # [m, C]
    ddw: Sequence[Tensor]  # [C, 1, k, k] each, or none
    dpw: Sequence[Tensor]  # [C, C, 1, 1] each, or none

    def part(self, at: slice) -> "SecondGradients":
        d1, coef1, sum_d, sum_dz, ddw, dpw = self
        return SecondGradients(d1[at], coef1[at], sum_d[at], sum_dz[at], ddw[at], dpw[at])


def edge_group_bwd_launches(
    x: Tensor, branches: Branches, stride: int, upstream: Upstream, add: Tensor | None,
    dx: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    """The kernels that write `dx` and, where there are any, `ddw` [C, 1, k, k] and `dpw` [C, C, 1, 1] of each branch.

    `x`, `add` and `dx` are [B, C, H, W], channels-last as all activations.
    """
    launches = []
    for part in _parts(len(branches.dw)):
        weights = ddw[part], dpw[part]
        launches += _edge_group(x, branches.part(part), stride, upstream.part(part), add, dx, *weights)
        add = dx  # of the parts so far
    return launches


def _edge_group(
    x: Tensor, branches: Branches, stride: int, upstream: Upstream, add: Tensor | None,
    dx: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    coef, gate = upstream.coef, branches.gate
    data = [x, dx, *upstream.g, *upstream.z, *([] if add is None else [add])]
    shape = Shape(tuple(x.shape), x.dtype, _vector(data, [coef, *branches.pw]), stride, branches.filters)
    addresses = _branch_table(shape, branches, upstream)
    launches = []
    if x.numel():
        down, across, channels = tile = data_tile(shape)
        kernel = Kernel(EDGE.source, f"{EDGE.name}<{_form(shape, tile, stride)}>")
        sizes = (ctypes.c_int(x.shape[2]), ctypes.c_int(x.shape[3]))
        grid = (_tiles(x.shape, down, across), -(-x.shape[1] // channels), 1)
        pointers = map(pointer, (x, coef, gate, add, dx))
        launches.append(Launch(kernel, grid, (addresses, ctypes.c_int(len(branches.dw)), *pointers, *sizes)))
    if ddw:
        inputs = (addresses, *map(pointer, (x, coef, gate)))
        launches += _weight_launches(EDGE, shape, inputs, gate, ddw, dpw)
    return launches


def sep_second_bwd_launches(
    z1: Sequence[Tensor], norm: Norm, branches: Branches, upstream: Upstream, out: SecondGradients
) -> list[Launch]:
    """The kernels that write `out`; `z1` are m tensors [B, C, H, W], channels-last as all activations."""
    launches = []
    for at in _parts(len(branches.dw)):
        launches += _sep_second(z1[at], norm.part(at), branches.part(at), upstream.part(at), out.part(at))
    return launches


def _sep_second(
    z1: Sequence[Tensor], norm: Norm, branches: Branches, upstream: Upstream, out: SecondGradients
) -> list[Launch]:
    x, m, gate = z1[0], len(z1), branches.gate
    small, coef = norm[:3], upstream.coef
    wide = _vector([*z1, *upstream.g, *upstream.z, *out.d1], [coef, *small, *branches.pw])
    shape = Shape(tuple(x.shape), x.dtype, wide, 1, branches.filters)
    middles = MiddleTable(z1=_pointers(z1), d1=_pointers(list(out.d1)))
    inputs = (_branch_table(shape, branches, upstream), middles, *map(pointer, (*small, coef, gate)))
    tiles, launches = 0, []
    partial = norm.mean.new_empty((m, 0, 2, x.shape[1]))
    if x.numel():
        down, across, channels = tile = data_tile(shape)
        tiles = _tiles(x.shape, down, across)
        partial = norm.mean.new_empty((m, tiles, 2, x.shape[1]))
        kernel = Kernel(SECOND.source, f"{SECOND.name}<{_form(shape, tile)}>")
        sizes = (ctypes.c_int(x.shape[2]), ctypes.c_int(x.shape[3]))
        grid = (tiles, -(-x.shape[1] // channels), m)
        launches.append(Launch(kernel, grid, (*inputs, pointer(partial), *sizes), (partial,)))
    finish = Kernel(SECOND.source, f"{SECOND.name}_finish<{x.shape[1]}>")
    pointers = map(pointer, (norm.mean, norm.scale, norm.rstd, gate, out.coef1, out.sum_d, out.sum_dz))
    arguments = (pointer(partial), ctypes.c_int(tiles), *pointers, ctypes.c_float(max(pixels(x), 1)))
    launches.append(Launch(finish, (m, -(-x.shape[1] // 32), 1), arguments, (partial,)))
    if out.ddw:
        launches += _weight_launches(SECOND, shape, inputs, gate, out.ddw, out.dpw)
    return launches


def _weight_launches(
    family: Kernel, shape: Shape, inputs: tuple[Argument, ...], gate: Tensor | None,
    ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    """The two passes of the weight gradients; `inputs` are the first pass's arguments before the room in between."""
    (b, c, h, w), n = shape.x, len(ddw)
    down, across, channels = tile = weight_tile(shape)
    groups = -(-c // channels) * -(-c // _outputs(c))
    size = shape.kernel**2 * c + c * c
    tiles = b * -(-shape.out[0] // down) * -(-shape.out[1] // across)
    blocks = min(tiles, max(1, min(BLOCKS // (n * groups), ROOM // (4 * n * size))))
    partial = ddw[0].new_empty((n, blocks, size))
    launches = []
    if blocks:
        stride = shape.stride if family is EDGE else None
        first = Kernel(family.source, f"{family.name}_weights<{_form(shape, tile, stride)}>")
        arguments = (*inputs, pointer(partial), *map(ctypes.c_int, (b, h, w)))
        launches.append(Launch(first, (blocks, groups, n), arguments, (partial,)))
    finish = Kernel(family.source, f"{family.name}_weights_finish<{c}, {shape.mask}>")
    gradients = GradientTable(dw=_pointers(ddw), pw=_pointers(dpw), shape=_kinds(shape))
    arguments = (gradients, pointer(partial), ctypes.c_int(blocks), pointer(gate))
    return [*launches, Launch(finish, (-(-size // THREADS), n, 1), arguments, (partial,))]


def data_tile(shape: Shape) -> tuple[int, int, int]:
    """The tile that should take least time, by a rough count of reads from a block's memory: unmeasured so far."""
    (b, c, h, w), (out_h, out_w), halo = shape.x, shape.out, -(-shape.padding // shape.stride)
    costs = []
    for down, across, channels in DATA_TILES:
        patch = down * across * channels // (4 * THREADS)
        rows, columns = down // shape.stride + 2 * halo, across // shape.stride + 2 * halo
        memory = channels * (rows * columns * shape.size + 4 * shape.kernel**2)
        if memory + 8 * channels * 8 > SHARED or (shape.stride == 2 and patch != 4):
            continue
        blocks = b * -(-h // down) * -(-w // across) * -(-c // channels)
        area = min(rows, out_h) * min(columns, out_w)
        cost = shape.kernel * (patch + 4 + shape.kernel) + area * channels * c / 2048
        costs.append((max(blocks / RESIDENT, 1) * cost, (down, across, channels)))
    return min(costs)[1]


def weight_tile(shape: Shape) -> tuple[int, int, int]:
    """The tile that reads least, waste and halo counted, of those whose memory fits: it is that of `WeightTile`."""
    costs = []
    for down, across, channels in WEIGHT_TILES:
        rows, columns = (shape.stride * (size - 1) + 1 + 2 * shape.padding for size in (down, across))
        taps = shape.kernel**2 * channels
        data = (rows * columns * channels + down * across * (channels + _outputs(shape.x[1]))) * shape.size // 4
        if 4 * (max(data, 8 * taps) + taps + 2048) <= SHARED:
            tiles = -(-shape.out[0] // down) * -(-shape.out[1] // across) * -(-shape.x[1] // channels)
            costs.append((tiles * channels * (rows * columns + 4 * down * across), (down, across, channels)))
    return min(costs)[1]


def _outputs(channels: int) -> int:
    """CO of `WeightTile`."""
    return min(-(-channels // 16) * 16, 64)


def _tiles(shape: Sequence[int], down: int, across: int) -> int:
    return shape[0] * -(-shape[2] // down) * -(-shape[3] // across)


def _form(shape: Shape, tile: tuple[int, int, int], stride: int | None = None) -> str:
    """The template arguments; sep_second has no stride."""
    strides = [] if stride is None else [stride]
    return ", ".join(map(str, [STORAGE[shape.dtype], shape.x[1], shape.vector, *strides, shape.mask, *tile]))


def _vector(data: Sequence[Tensor], small: Sequence[Tensor]) -> int:
    """4 where channels and all addresses allow accesses of four values, else 1."""
    width = 4 * data[0].element_size()
    aligned = not any(x.data_ptr() % width for x in data) and not any(x.data_ptr() % 16 for x in small)
    return 4 if data[0].shape[1] % 4 == 0 and aligned else 1


def _pointers(tensors: Sequence[Tensor]) -> Addresses:
    return (ctypes.c_void_p * MOST_BRANCHES)(*(x.data_ptr() for x in tensors))


def _kinds(shape: Shape) -> "ctypes.Array[ctypes.c_ubyte]":
    return (ctypes.c_ubyte * MOST_BRANCHES)(*shape.kinds)


def _branch_table(shape: Shape, branches: Branches, upstream: Upstream) -> BranchTable:
    gradients, weights = (upstream.g, list(upstream.z)), (branches.dw, branches.pw)
    g, z, dw, pw = map(_pointers, (*gradients, *weights))
    return BranchTable(g=g, z=z, dw=dw, pw=pw, shape=_kinds(shape))


def _parts(n: int) -> list[slice]:
    """The branches of each launch."""
    return [slice(i, i + MOST_BRANCHES) for i in range(0, n, MOST_BRANCHES)]
