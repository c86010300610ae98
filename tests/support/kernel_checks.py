"""What tests of kernels share: tensors amid poison, the bound on errors, kernels that lack one of their barriers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.gpu.launch import Launch
from tests.support.emulation import ORDERS, Emulator

__all__ = [
    "caught_barriers",
    "error",
    "holds",
    "inside",
    "padded",
    "poisoned",
    "run_all",
    "same_kind",
    "untouched_around",
]

MARGIN = 64  # poisoned elements on both sides of every tensor that a kernel sees
Run = tuple[list[Launch], dict[str, Tensor], Any]  # launches, their outputs, what must live until they have run


def padded(values: Tensor, offset: int = 0) -> Tensor:
    """`values`, packed, amid NaN, which any read beside them would catch; `offset` elements off the alignment."""
    memory = torch.full((values.numel() + 2 * MARGIN,), torch.nan, dtype=values.dtype)
    begin = MARGIN + offset
    memory[begin : begin + values.numel()] = values.flatten()
    return memory[begin : begin + values.numel()].view(values.shape)


def poisoned(shape: Sequence[int], dtype: torch.dtype = torch.float32, offset: int = 0) -> Tensor:
    """Room for an output, all NaN."""
    return padded(torch.full(tuple(shape), torch.nan, dtype=dtype), offset)


def untouched_around(x: Tensor) -> bool:
    """Is the poison beside a tensor of `padded` still there?"""
    memory = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    begin = x.storage_offset()
    return bool(memory[:begin].isnan().all() and memory[begin + x.numel() :].isnan().all())


def error(x: Tensor, exact: Tensor) -> float:
    """||x - exact|| / ||exact||."""
    x, exact = x.detach(), exact.detach()
    return float((x.double() - exact).norm() / exact.norm().clamp_min(1e-30))


def holds(x: Tensor, eager: Tensor, exact: Tensor) -> bool:
    """Is `x` about as near to float64 as eager PyTorch in the same precision?"""
    return error(x, exact) <= 2 * error(eager, exact) + 1e-6


def inside(dtype: torch.dtype, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` computed in `dtype` throughout; numbers and None stay as they are."""

    def cast(x: Any) -> Any:
        return [y.to(dtype) for y in x] if isinstance(x, list) else x.to(dtype) if isinstance(x, Tensor) else x

    return function(*map(cast, arguments))


def same_kind(x: Tensor, y: Tensor) -> None:
    """NaN and infinities of one sign at the same places."""
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(kind(x), kind(y))


def run_all(emulator: Emulator, launches: Sequence[Launch], order: int = 0, tensors: Sequence[Tensor] = ()) -> None:
    """All launches, with NaN in what they hand to one another."""
    for one in launches:
        for room in one.holds:
            room.fill_(torch.nan)
    for one in launches:
        emulator.run(one, order, tensors)


def caught_barriers(prepare: Callable[[], Run], folder: Path) -> list[bool]:
    """For each barrier in the source of the launches: taken out, does some order of the threads give other values?

    The first answer is for the source as it is.
    """
    run, _, _kept = prepare()
    pieces = run[0].kernel.path.read_text(encoding="utf-8").split("__syncthreads();")
    copies = ["__syncthreads();".join(pieces)]
    for i in range(1, len(pieces)):
        copies.append("__syncthreads();".join(pieces[:i]) + ";" + "__syncthreads();".join(pieces[i:]))
    source = folder / "copies.cu"
    parts = ['#include "gpu/device.cuh"', *(f"namespace copy{i} {{\n{copy}\n}}" for i, copy in enumerate(copies))]
    source.write_text("\n".join(parts), encoding="utf-8")
    names = [[Kernel(str(source), f"copy{i}::{one.kernel.name}") for one in run] for i in range(len(copies))]
    emulator = Emulator([kernel for copy in names for kernel in copy], folder)

    def results(copy: list[Kernel], order: int) -> dict[str, Tensor]:
        run, out, _kept = prepare()
        run_all(emulator, [replace(one, kernel=kernel) for kernel, one in zip(copy, run, strict=True)], order)
        return out

    right = results(names[0], 0)
    return [
        any(not torch.equal(x, right[name]) for order in ORDERS for name, x in results(copy, order).items())
        for copy in names
    ]
