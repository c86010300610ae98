"""Which kernels make up the backward of edge_group and sep_second: the tiles, the grids, the room between two passes.

The data gradient is one kernel. The weight gradients are two: blocks, several a branch, write their sums, and a second
kernel adds these in a fixed order. How many blocks there are depends on shapes alone, so the bits do as well.
"""
# B batch, C channels, H height, W width, n branches, k size of a filter

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import THREADS, Kernel, Launch, pointer

__all__ = ["edge_group_bwd_launches", "sep_second_bwd_launches"]

MOST_BRANCHES = 64  # of one launch: separable_backward.cuh
SHARED = 48 * 1024  # bytes of a block's own memory
ROOM = 32 << 20  # bytes between the two passes of the weight gradients, at most
BLOCKS = 528  # of the weights' first pass, about: four for each of a large GPU's multiprocessors
RESIDENT = 264  # blocks of the data gradient that run at once there: two on each of 132 multiprocessors
STORAGE = {torch.float32: "float", torch.bfloat16: "bf16"}
EDGE, SECOND = "edge_group_bwd", "sep_second_bwd"

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


class Branches(ctypes.Structure):
    """`Branches` of separable_backward.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("g", "z", "dw", "pw")),
        ("shape", ctypes.c_ubyte * MOST_BRANCHES),
    )


class Gradients(ctypes.Structure):
    """`Gradients` of separable_weights.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("dw", "pw")),
        ("shape", ctypes.c_ubyte * MOST_BRANCHES),
    )


class Middles(ctypes.Structure):
    """`Middles` of sep_second_bwd.cu."""

    _fields_ = tuple((name, ctypes.c_void_p * MOST_BRANCHES) for name in ("z1", "d1"))


def edge_group_bwd_launches(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int,
    g: Sequence[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None,
    dx: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    """The kernels that write `dx` and, where `weights`, `ddw` and `dpw`; activations are channels-last."""
    launches = []
    for part in _parts(len(dw)):
        arguments = (dilation[part], stride, g[part], z[part], coef[part], add, weights, _gate(gate, part), dx)
        launches += _edge_group(x, dw[part], pw[part], *arguments, ddw[part], dpw[part])
        add = dx  # of the parts so far
    return launches


def _edge_group(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int,
    g: Sequence[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None,
    dx: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    filters = tuple((w.shape[-1], d) for w, d in zip(dw, dilation, strict=True))
    wide = _vector([x, dx, *g, *z, *([] if add is None else [add])], [coef, *pw])
    shape = Shape(tuple(x.shape), x.dtype, wide, stride, filters)
    branches = _branches(shape, g, z, dw, pw)
    launches = []
    if x.numel():
        down, across, channels = tile = data_tile(shape)
        kernel = Kernel(f"{EDGE}.cu", f"{EDGE}<{_form(shape, tile, stride)}>")
        sizes = (ctypes.c_int(x.shape[2]), ctypes.c_int(x.shape[3]))
        pointers = (pointer(x), pointer(coef), _optional(gate), _optional(add), pointer(dx))
        grid = (_tiles(x.shape, down, across), -(-x.shape[1] // channels), 1)
        launches.append(Launch(kernel, grid, (branches, ctypes.c_int(len(dw)), *pointers, *sizes)))
    if weights:
        inputs = (branches, pointer(x), pointer(coef), _optional(gate))
        launches += _weight_launches(EDGE, shape, inputs, gate, ddw, dpw)
    return launches


def sep_second_bwd_launches(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, dw: Sequence[Tensor],
    pw: Sequence[Tensor], g: Sequence[Tensor], z2: Tensor, coef: Tensor, weights: bool, gate: Tensor | None,
    d1: Tensor, coef1: Tensor, sum_d: Tensor, sum_dz: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    """The kernels that write all outputs, from `d1` on; activations are channels-last."""
    launches = []
    for part in _parts(len(dw)):
        launches += _sep_second(
            z1[part], mean[part], scale[part], shift[part], rstd[part], dw[part], pw[part], g[part], z2[part],
            coef[part], weights, _gate(gate, part), d1[part], coef1[part], sum_d[part], sum_dz[part], ddw[part],
            dpw[part],
        )  # fmt: skip
    return launches


def _sep_second(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, dw: Sequence[Tensor],
    pw: Sequence[Tensor], g: Sequence[Tensor], z2: Tensor, coef: Tensor, weights: bool, gate: Tensor | None,
    d1: Tensor, coef1: Tensor, sum_d: Tensor, sum_dz: Tensor, ddw: Sequence[Tensor], dpw: Sequence[Tensor],
) -> list[Launch]:  # fmt: skip
    x, m = z1[0], len(z1)
    small = (mean, scale, shift)
    wide = _vector([*z1, *g, *z2, *d1], [coef, *small, *pw])
    shape = Shape(tuple(x.shape), x.dtype, wide, 1, tuple((w.shape[-1], 1) for w in dw))
    branches = _branches(shape, g, z2, dw, pw)
    middles = Middles(z1=_pointers(z1), d1=_pointers(list(d1)))
    inputs = (branches, middles, *map(pointer, (*small, coef)), _optional(gate))
    tiles, launches = 0, []
    partial = mean.new_empty((m, 0, 2, x.shape[1]))
    if x.numel():
        down, across, channels = tile = data_tile(shape)
        tiles = _tiles(x.shape, down, across)
        partial = mean.new_empty((m, tiles, 2, x.shape[1]))
        kernel = Kernel(f"{SECOND}.cu", f"{SECOND}<{_form(shape, tile)}>")
        sizes = (ctypes.c_int(x.shape[2]), ctypes.c_int(x.shape[3]))
        grid = (tiles, -(-x.shape[1] // channels), m)
        launches.append(Launch(kernel, grid, (*inputs, pointer(partial), *sizes), (partial,)))
    finish = Kernel(f"{SECOND}.cu", f"{SECOND}_finish<{x.shape[1]}>")
    outputs = (_optional(gate), *map(pointer, (coef1, sum_d, sum_dz)))
    pixels = ctypes.c_float(max(x.shape[0] * x.shape[2] * x.shape[3], 1))
    arguments = (pointer(partial), ctypes.c_int(tiles), *map(pointer, (mean, scale, rstd)), *outputs, pixels)
    launches.append(Launch(finish, (m, -(-x.shape[1] // 32), 1), arguments, (partial,)))
    if weights:
        launches += _weight_launches(SECOND, shape, inputs, gate, ddw, dpw)
    return launches


def _weight_launches(
    name: str, shape: Shape, inputs: tuple[Any, ...], gate: Tensor | None, ddw: Sequence[Tensor], dpw: Sequence[Tensor]
) -> list[Launch]:
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
        stride = shape.stride if name == EDGE else None
        first = Kernel(f"{name}.cu", f"{name}_weights<{_form(shape, tile, stride)}>")
        arguments = (*inputs, pointer(partial), *map(ctypes.c_int, (b, h, w)))
        launches.append(Launch(first, (blocks, groups, n), arguments, (partial,)))
    finish = Kernel(f"{name}.cu", f"{name}_weights_finish<{c}, {shape.mask}>")
    gradients = Gradients(dw=_pointers(ddw), pw=_pointers(dpw), shape=_kinds(shape))
    arguments = (gradients, pointer(partial), ctypes.c_int(blocks), _optional(gate))
    return [*launches, Launch(finish, (-(-size // THREADS), n, 1), arguments, (partial,))]


def data_tile(shape: Shape) -> tuple[int, int, int]:
    """The tile that should take least time, by a rough count of reads from a block's memory: unmeasured so far."""
    (b, c, h, w), (out_h, out_w), halo = shape.x, shape.out, -(-shape.padding // shape.stride)
    found = []
    for down, across, channels in DATA_TILES:
        patch = down * across * channels // (4 * THREADS)
        rows, columns = down // shape.stride + 2 * halo, across // shape.stride + 2 * halo
        memory = channels * (rows * columns * shape.size + 4 * shape.kernel**2)
        if memory + 8 * channels * 8 > SHARED or (shape.stride == 2 and patch != 4):
            continue
        blocks = b * -(-h // down) * -(-w // across) * -(-c // channels)
        pixels = min(rows, out_h) * min(columns, out_w)
        cost = shape.kernel * (patch + 4 + shape.kernel) + pixels * channels * c / 2048
        found.append((max(blocks / RESIDENT, 1) * cost, (down, across, channels)))
    return min(found)[1]


def weight_tile(shape: Shape) -> tuple[int, int, int]:
    """The tile that reads least, waste and halo counted, of those whose memory fits: it is that of `WeightTile`."""
    found = []
    for down, across, channels in WEIGHT_TILES:
        rows, columns = (shape.stride * (size - 1) + 1 + 2 * shape.padding for size in (down, across))
        taps = shape.kernel**2 * channels
        data = (rows * columns * channels + down * across * (channels + _outputs(shape.x[1]))) * shape.size // 4
        if 4 * (max(data, 8 * taps) + taps + 2048) <= SHARED:
            tiles = -(-shape.out[0] // down) * -(-shape.out[1] // across) * -(-shape.x[1] // channels)
            found.append((tiles * channels * (rows * columns + 4 * down * across), (down, across, channels)))
    return min(found)[1]


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


def _pointers(tensors: Sequence[Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * MOST_BRANCHES)(*(x.data_ptr() for x in tensors))


def _kinds(shape: Shape) -> "ctypes.Array[ctypes.c_ubyte]":
    return (ctypes.c_ubyte * MOST_BRANCHES)(*shape.kinds)


def _branches(shape: Shape, g: Sequence[Tensor], z: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor]) -> Branches:
    return Branches(g=_pointers(g), z=_pointers(list(z)), dw=_pointers(dw), pw=_pointers(pw), shape=_kinds(shape))


def _optional(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None) if x is None else pointer(x)


def _parts(n: int) -> list[slice]:
    """The branches of each launch."""
    return [slice(i, i + MOST_BRANCHES) for i in range(0, n, MOST_BRANCHES)]


def _gate(gate: Tensor | None, part: slice) -> Tensor | None:
    return None if gate is None else gate[part]
