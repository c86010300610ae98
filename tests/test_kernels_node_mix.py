"""node_mix: operator, CPU body and the kernels themselves (under the emulation) against float64."""
# B batch, C channels, H height, W width, T terms

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from emulation import ORDERS, Emulator
from torch import Tensor

from supernet.cuda_kernels import node_mix as module
from supernet.cuda_kernels.geometry import Geometry, geometry
from supernet.cuda_kernels.launch import Kernel, Launch
from supernet.cuda_kernels.node_mix import (
    forward_launches,
    node_mix,
    node_mix_bwd_reduce,
    node_mix_reference,
    node_mix_reference_sums,
    reduce_launches,
)

SUMS = ("dp", "sum_g", "sum_gz")
MARGIN = 64  # poisoned elements on both sides of every tensor that a kernel sees


@dataclass(frozen=True)
class Case:
    """A shape; `offset` moves the data off the alignment that wide accesses need."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    terms: int
    dtype: torch.dtype = torch.float32
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.terms}x{self.shape}-{str(self.dtype)[6:]}-{self.offset}"


def random_cases(number: int, seed: int) -> Iterator[Case]:
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    for i in range(number):
        shape = pick(1, 3), pick(1, 40), pick(1, 9), pick(1, 9)
        yield Case(shape, pick(1, 12), (torch.float32, torch.bfloat16)[i % 2], pick(0, 2))


BF16 = torch.bfloat16
FEW = [
    Case((2, 16, 8, 8), 14),  # more pixels than one block's rows
    Case((3, 16, 7, 5), 14, BF16),
    Case((1, 1, 1, 1), 1),
    Case((2, 5, 3, 7), 3, BF16),  # C without a common factor with 8: single accesses, idle threads
    Case((1, 72, 3, 3), 2, BF16),  # two tiles of channels, the second mostly empty
    Case((2, 33, 5, 5), 2),
    Case((9, 4, 17, 13), 2),  # several blocks, an odd number of pixels
    Case((2, 8, 3, 3), 9, BF16, offset=4),  # aligned for 8 bytes only
]
MANY = [*random_cases(40, seed=0), Case((5, 64, 31, 33), 35, BF16), Case((8, 16, 97, 91), 3), Case((2, 24, 9, 9), 64)]


def inputs(case: Case) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Terms, (mean, scale, shift, p) and an upstream gradient, of a batch norm's size and with means apart from 0."""
    draw = torch.Generator().manual_seed(1)
    b, c, h, w = case.shape

    def data() -> Tensor:
        values = torch.randn((b, h, w, c), generator=draw) * 2 + 1
        return padded(case, values.to(case.dtype))

    mean = torch.randn((case.terms, c), generator=draw)
    scale = torch.rand((case.terms, c), generator=draw) + 0.5
    shift = torch.randn((case.terms, c), generator=draw)
    p = torch.softmax(torch.randn(case.terms, generator=draw), 0)
    return [data() for _ in range(case.terms)], [mean, scale, shift, p], data()


def padded(case: Case, values: Tensor) -> Tensor:
    """`values` [B, H, W, C] as a channels-last tensor [B, C, H, W] amid NaN, which any read beside it would catch."""
    memory = torch.full((values.numel() + 2 * MARGIN,), torch.nan, dtype=values.dtype)
    begin = MARGIN + case.offset
    memory[begin : begin + values.numel()] = values.flatten()
    return memory[begin : begin + values.numel()].view(values.shape).permute(0, 3, 1, 2)


def untouched_around(x: Tensor) -> bool:
    """Is the poison beside a tensor of `padded` still there?"""
    memory = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    begin = x.storage_offset()
    return bool(memory[:begin].isnan().all() and memory[begin + x.numel() :].isnan().all())


def error(x: Tensor, exact: Tensor) -> float:
    """||x - exact|| / ||exact||."""
    return float((x.double() - exact).norm() / exact.norm().clamp_min(1e-30))


def holds(x: Tensor, eager: Tensor, exact: Tensor) -> bool:
    return error(x, exact) <= 2 * error(eager, exact) + 1e-6


def inside(dtype: torch.dtype, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` computed in `dtype` throughout."""

    def cast(x: Any) -> Any:
        return [y.to(dtype) for y in x] if isinstance(x, list) else x.to(dtype)

    return function(*map(cast, arguments))


def launches(case: Case) -> tuple[list[Launch], dict[str, Tensor], tuple[Any, ...]]:
    """What goes to the device for `case`, the outputs, poisoned, and the inputs, to be kept until it has run."""
    z, small, g = inputs(case)
    mean, scale, shift, p = small
    b, c, h, w = case.shape
    terms = case.terms
    flat = Case(case.shape, 1)
    shapes = {"dp": (terms,), "sum_g": (c,), "sum_gz": (terms, c), "partial": (module._partials(g, z), terms + 1, c)}
    out = {name: padded(flat, torch.full((1, 1, 1, torch.Size(s).numel()), torch.nan)) for name, s in shapes.items()}
    views = {name: out[name].permute(0, 2, 3, 1).reshape(shapes[name]) for name in shapes}
    out["out"] = padded(case, torch.full((b, h, w, c), torch.nan, dtype=case.dtype))
    first = forward_launches(z, mean, scale, shift, p, out["out"])
    return first + reduce_launches(g, z, mean, scale, shift, **views), out, (z, small, g)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    kernels = [launch.kernel for case in FEW for launch in launches(case)[0]]
    return Emulator(kernels, tmp_path_factory.mktemp("few"))


def check_emulated(emulator: Emulator, case: Case) -> None:
    """Equals float64 as eager PyTorch does, the same bits in every order, nothing written beside the outputs."""
    found: dict[str, Tensor] = {}
    for order in ORDERS:
        run, out, (z, _small, g) = launches(case)
        for launch in run:
            emulator.run(launch, order, tensors=[*z, g, out["out"]])
        assert all(map(untouched_around, out.values()))
        assert all(torch.equal(x, found.setdefault(name, x)) for name, x in out.items()), f"order {order} differs"
    check_values(case, found["out"], [found[name] for name in SUMS])


def check_values(case: Case, out: Tensor, sums: Sequence[Tensor]) -> None:
    """Against float64, with the error of eager float32; only what is stored is rounded to the case's dtype."""
    z, small, g = inputs(case)
    there, usual = (inside(dtype, node_mix_reference, z, *small) for dtype in (torch.float64, torch.float32))
    assert holds(out, usual.to(case.dtype), there)
    there, usual = (
        inside(dtype, node_mix_reference_sums, g, z, *small[:3]) for dtype in (torch.float64, torch.float32)
    )
    for name, x, plain, value in zip(SUMS, sums, usual, there, strict=True):
        assert holds(x.reshape(value.shape), plain, value), name


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernels_equal_float64_in_every_order_of_threads(emulator: Emulator, case: Case) -> None:
    check_emulated(emulator, case)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_kernels_equal_float64_for_many_shapes(tmp_path: Path) -> None:
    emulator = Emulator([launch.kernel for case in MANY for launch in launches(case)[0]], tmp_path)
    for case in MANY:
        check_emulated(emulator, case)


def test_random_shapes_are_odd_enough() -> None:
    vectors = {geometry_of(case).vector for case in MANY}
    assert vectors == {1, 2, 4, 8}
    assert any(case.shape[0] == 1 for case in MANY) and any(case.shape[1] % 8 for case in MANY)


def geometry_of(case: Case) -> Geometry:
    z, _, g = inputs(case)
    return geometry(case.shape[1], [*z, g])


def test_every_barrier_of_the_kernels_is_needed_and_missed(tmp_path: Path) -> None:
    """Each barrier taken out in turn: some order of the threads then gives other values."""
    case = Case((2, 40, 5, 5), 9)
    run, _, _kept = launches(case)
    text = run[0].kernel.path.read_text(encoding="utf-8")
    pieces = text.split("__syncthreads();")
    copies = ["__syncthreads();".join(pieces)]
    for i in range(1, len(pieces)):
        copies.append("__syncthreads();".join(pieces[:i]) + ";" + "__syncthreads();".join(pieces[i:]))
    source = tmp_path / "copies.cu"
    parts = ['#include "device.cuh"', *(f"namespace copy{i} {{\n{copy}\n}}" for i, copy in enumerate(copies))]
    source.write_text("\n".join(parts), encoding="utf-8")
    names = [[Kernel(str(source), f"copy{i}::{one.kernel.name}") for one in run] for i in range(len(copies))]
    emulator = Emulator([kernel for copy in names for kernel in copy], tmp_path)

    def results(copy: list[Kernel], order: int) -> dict[str, Tensor]:
        run, out, _kept = launches(case)
        for kernel, one in zip(copy, run, strict=True):
            emulator.run(replace(one, kernel=kernel), order)
        return out

    right = results(names[0], 0)
    caught = [
        any(not torch.equal(x, right[name]) for order in ORDERS for name, x in results(copy, order).items())
        for copy in names
    ]
    assert caught == [False] + [True] * (len(copies) - 1)
    assert len(copies) == 7


@pytest.mark.parametrize("case", [FEW[1], FEW[0]], ids=str)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Case, poison: float) -> None:
    """In a term, in the gradient and in a norm's scale; also where the weight is 0."""
    for where in ("z", "g", "scale"):
        run, out, (z, small, g) = launches(case)
        small[3][3] = 0.0
        if where == "scale":
            small[1][2, 5] = poison
        else:
            (z[3] if where == "z" else g)[1, 5, 2, 3] = poison
        for launch in run:
            emulator.run(launch)
        expected = node_mix_reference([x.float() for x in z], *small)
        sums = node_mix_reference_sums(g.float(), [x.float() for x in z], *small[:3])
        body = node_mix_bwd_reduce(g, z, *small[:3])
        for x in (out["out"], node_mix(z, *small)):
            same_kind(x, expected)
        for name, x, y in zip(SUMS, body, sums, strict=True):
            same_kind(x, y)
            same_kind(out[name].reshape(y.shape), y)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_shows_everywhere(emulator: Emulator, poison: float) -> None:
    """An infinite weight may give NaN where PyTorch gives an infinity: it meets the two halves of a norm apart."""
    run, out, (z, small, _g) = launches(FEW[0])
    small[3][2] = poison
    emulator.run(run[0])
    assert not out["out"].isfinite().any() and not node_mix(z, *small).isfinite().any()


def same_kind(x: Tensor, y: Tensor) -> None:
    """NaN and infinities of one sign at the same places."""
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(kind(x), kind(y))
