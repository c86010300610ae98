"""What to launch for the forward of separable convolutions: the kernels of edge_group_fwd.cu and sep_second_fwd.cu.

A block filters one tile of the input with its halo, for several branches where they share it. The tile is chosen so
that the image wastes little of it and a block's shared memory stays within the 48 KB that every GPU gives unasked.
"""
# B batch, C channels, H height, W width, n branches, k size of a filter

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from ...errors import SupernetError
from ..addresses import Addresses, ints, pointer, table
from ..gpu.geometry import geometry
from ..gpu.kernel import Kernel
from ..gpu.launch import THREADS, Launch
from ..tensors import STORAGE
from .branches import Branches, Outputs

__all__ = ["Tile", "edge_group_launches", "form_of", "sep_second_launches", "shared_bytes", "tile_for"]

MOST_BRANCHES = 64  # of a launch, whose pointers travel as its arguments
SHARED = 48 * 1024  # of a block, without asking for more
BLOCKS = 1056  # aimed at: eight for each of a large GPU's multiprocessors; a block takes further tiles after its first
EDGE, SECOND = "separable/edge_group_fwd.cu", "separable/sep_second_fwd.cu"
# What filtering a pixel costs by how many a thread takes side by side (what it loads serves them all), and loading one
# of the input, in filtered pixels; estimates, not measured, that only rank the tiles.
COST = {2: 1.5, 4: 1.2, 8: 1.0}
LOADING = 0.1


@dataclass(frozen=True)
class Tile:
    """`Tile` of tile.cuh: high x wide pixels of the output, `channels` at a time; filters reach `reach` around."""

    high: int
    wide: int
    channels: int
    stride: int
    reach: int

    @property
    def strip(self) -> int:
        return self.high * self.wide * self.channels // 2 // THREADS

    @property
    def input(self) -> int:
        """Pixels of the input, with its halo."""
        height, width = ((size - 1) * self.stride + 1 + 2 * self.reach for size in (self.high, self.wide))
        return height * (width | 1)

    def count(self, height: int, width: int) -> tuple[int, int]:
        """Tiles in a column and in a row of an output."""
        return -(-height // self.high), -(-width // self.wide)


def form_of(weight: Tensor, dilation: int) -> int:
    """The number in tile.cuh of the form of a filter [C, 1, k, k].

    Raises SupernetError for sizes k beside 3, 5, 7 and dilations beside 1, 2.
    """
    form = weight.shape[-1] - 3 + dilation - 1
    if weight.shape[-1] not in (3, 5, 7) or dilation not in (1, 2):
        raise SupernetError(
            f"a filter of size {weight.shape[-1]}, dilation {dilation}: sizes 3, 5, 7 and dilations 1, 2 serve"
        )
    return form


def reach_of(form: int) -> int:
    return (3 + form // 2 * 2) // 2 * (1 + form % 2)


def shared_bytes(tile: Tile, size: int, largest: int, norm: int) -> int:
    """A block's shared memory: storage of `size` bytes, filters of `largest` taps a side, factors of `norm` chunks."""
    pixels, row = tile.high * tile.wide, tile.channels + 16 // size
    step = tile.channels if tile.channels < 64 else 0
    product = pixels * row + tile.high * step + tile.channels * row
    down = THREADS // 32 // (tile.channels // (8 * min(2, tile.strip // 2, tile.channels // 8)))  # warps
    # Each array begins at a multiple of 16 bytes.
    filters = largest * largest * tile.channels * 4
    return (
        -(-tile.input * tile.channels * size // 16) * 16
        + product * size
        + filters
        + (2 * down + 1 + 3 * norm) * 4 * tile.channels
    )


def tile_for(
    channels: int, size: int, height: int, width: int, stride: int, forms: Sequence[int], normed: bool = False
) -> Tile:
    """The cheapest tile for outputs of height x width, of storage of `size` bytes.

    Raises SupernetError where none fits a block's shared memory.
    """
    largest, reach = max(3 + form // 2 * 2 for form in forms), max(map(reach_of, forms))
    for chunk in _chunks(channels, size):
        chunks = -(-channels // chunk)
        shapes = (Tile(high, wide, chunk, stride, reach) for high, wide in product((1, 2, 4, 8, 16), (8, 16, 32)))
        fitting = [
            tile
            for tile in shapes
            if tile.strip in COST and shared_bytes(tile, size, largest, chunks if normed else 0) <= SHARED
        ]
        if fitting:
            return min(fitting, key=lambda tile: _cost(tile, height, width))
    raise SupernetError(
        f"no tile for {channels} channels fits {SHARED} bytes of shared memory; executor=torch has no such limit"
    )


def _chunks(channels: int, size: int) -> list[int]:
    """How many channels to take at a time: all if that goes, else as many as go."""
    allowed = [16, 32, 64] if size == 2 else [8, 16, 32]
    return [c for c in allowed if c >= channels][:1] + [c for c in reversed(allowed) if c < channels]


def _cost(tile: Tile, height: int, width: int) -> float:
    down, across = tile.count(height, width)
    return down * across * (tile.high * tile.wide * COST[tile.strip] + tile.input * LOADING)


def edge_group_launches(x: Tensor, branches: Branches, stride: int, eps: float, out: Outputs) -> list[Launch]:
    """The kernels of `edge_group` for `x` [B, C, H, W], which write `out`: z [n, B, C, H', W'], statistics [n, C]."""
    if not out.z.numel():
        return []
    forms = _forms(branches)
    height, width = out.z.shape[-2:]
    tile = tile_for(x.shape[1], x.element_size(), height, width, stride, forms)
    together = 1 if tile.channels >= 64 or x.shape[1] > tile.channels else 4
    launches = []
    for part in _parts(len(forms)):
        n = len(forms[part])
        call = _Call(x, branches.part(part), Outputs(*(y[part] for y in out)), tile, -(-n // together))
        name = f"edge_group_fwd<{call.head}, {stride}, {tile.reach}, {_bits(forms)}, {_room(n)}>"
        counts = ctypes.c_int(n), ctypes.c_int(min(together, n))
        arguments = (pointer(x), *call.weights, *call.middle, call.sizes, *counts)
        launches.append(Launch(Kernel(EDGE, name), call.grid, arguments, call.holds))
        launches.append(call.finish(EDGE, "edge_group_fwd_finish", eps))
    return launches


def sep_second_launches(
    z1: Sequence[Tensor], norm: Sequence[Tensor], branches: Branches, eps: float, out: Outputs
) -> list[Launch]:
    """The kernels of `sep_second`, which write `out`: z [m, B, C, H, W], each channels-last, statistics [m, C].

    `z1` are m tensors [B, C, H, W], `norm` is mean, scale, shift [m, C].
    """
    if not out.z.numel():
        return []
    forms = _forms(branches)
    channels, height, width = out.z.shape[-3:]
    tile = tile_for(channels, out.z.element_size(), height, width, 1, forms, normed=True)
    launches = []
    for part in _parts(len(forms)):
        n = len(forms[part])
        call = _Call(z1[0], branches.part(part), Outputs(*(y[part] for y in out)), tile, n, tuple(z1))
        name = f"sep_second_fwd<{call.head}, {tile.reach}, {_bits(forms)}, {_room(n)}>"
        small = (pointer(y[part]) for y in norm)
        arguments = (_table(z1[part]), *small, *call.weights, *call.middle, call.sizes)
        launches.append(Launch(Kernel(SECOND, name), call.grid, arguments, call.holds))
        launches.append(call.finish(SECOND, "sep_second_fwd_finish", eps))
    return launches


class _Call:
    """What both operators' launches have in common; `groups` of branches are blocks of their own."""

    def __init__(
        self, x: Tensor, branches: Branches, out: Outputs, tile: Tile, groups: int, inputs: Sequence[Tensor] = ()
    ) -> None:
        self.out, self.tile, gate = out, tile, branches.gate
        self.n, batch, self.channels, height, width = out.z.shape
        down, across = tile.count(height, width)
        tiles, wide = batch * down * across, geometry(self.channels, [x, out.z, *inputs]).vector
        outputs = -(-self.channels // tile.channels)
        turns = -(-tiles // max(1, BLOCKS // (groups * outputs)))  # of a block, all of them alike
        self.head = f"{STORAGE[out.z.dtype]}, {self.channels}, {wide}, {tile.channels}, {tile.high}, {tile.wide}"
        self.grid = (-(-tiles // turns), groups, outputs)
        self.sizes = ints([*x.shape[-2:], height, width, down, across, tiles, batch])
        self.partial = out.mean.new_empty((self.n, tiles, 2, self.channels))
        self.holds = (self.partial,) if gate is None else (self.partial, gate)
        forms = _forms(branches)
        forms += [0] * (_room(self.n) - self.n)
        self.weights = (_table(branches.dw), _table(branches.pw), ints(forms))
        self.middle = tuple(map(pointer, (gate, out.z, self.partial)))

    def finish(self, source: str, name: str, eps: float) -> Launch:
        """The second kernel of the statistics."""
        kernel = Kernel(source, f"{name}<{self.channels}, {self.tile.high}, {self.tile.wide}>")
        gate, _, partial = self.middle
        arguments = (partial, gate, self.sizes, ctypes.c_float(eps), *map(pointer, self.out[1:]))
        columns = min(8, 1 << (self.channels - 1).bit_length())
        return Launch(kernel, (-(-self.channels // columns), self.n, 1), arguments, self.holds)


def _forms(branches: Branches) -> list[int]:
    return [form_of(w, d) for w, d in zip(branches.dw, branches.dilation, strict=True)]


def _parts(n: int) -> Iterator[slice]:
    """At most MOST_BRANCHES at a time."""
    yield from (slice(begin, min(begin + MOST_BRANCHES, n)) for begin in range(0, n, MOST_BRANCHES))


def _room(n: int) -> int:
    """Branches that a kernel's arguments hold: few sizes, so that few kernels are compiled."""
    return max(4, 1 << (n - 1).bit_length())


def _bits(forms: Sequence[int]) -> int:
    return sum(1 << form for form in set(forms))


def _table(tensors: Sequence[Tensor]) -> Addresses:
    """As `table`, with room for `_room` of them; the last stands in where there is no tensor."""
    return table([*tensors, *[tensors[-1]] * (_room(len(tensors)) - len(tensors))])
