"""What tests of kernels share: tensors amid poison, the bound on errors, kernels that lack one of their barriers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.code_cache import CodeCache
from supernet.cuda_kernels.gpu import compile as compiling
from supernet.cuda_kernels.gpu.kernel import FOLDER
from supernet.cuda_kernels.gpu.launch import Launch
from supernet.errors import SupernetError
from tests.support.emulation import BUILD, ORDERS, Emulator

__all__ = [
    "ARCHITECTURES",
    "caught_barriers",
    "code_cache",
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


def barriers(sources: Sequence[str]) -> list[tuple[Path, int]]:
    """File and line of every barrier in `sources`, which lie below the folder of the kernels."""
    places = []
    for path in (FOLDER / source for source in sources):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert line.count("__syncthreads") <= 1
            places += [(path, number)] * line.count("__syncthreads();")
    return places


def caught_barriers(emulator: Emulator, prepare: Callable[[], Run], sources: Sequence[str]) -> list[bool]:
    """For each barrier in `sources`: left out, does some order of the threads give other values?

    The first answer is for the sources as they are. `emulator` has the kernels of all launches.
    """

    def results(order: int) -> dict[str, Tensor]:
        run, out, _inputs = prepare()
        run_all(emulator, run, order)
        return out

    right = results(0)

    def differs(order: int) -> bool:
        return any(not torch.equal(x, right[name]) for name, x in results(order).items())

    caught = []
    for place in [None, *barriers(sources)]:
        with emulator.without(place):
            caught.append(any(map(differs, ORDERS)))
    return caught


def code_cache() -> CodeCache:
    """Compiled kernels of this checkout, for all tests and runs; the test is skipped where there is no compiler."""
    try:
        compiling.compiler_version()
    except SupernetError as error:
        pytest.skip(str(error))
    return CodeCache(BUILD / "kernels")


# The least, the most common and the newest; the others are near one of them and have their turn with the long tests.
ARCHITECTURES = [
    pytest.param(name, marks=[] if name == "sm_90" else [pytest.mark.long]) for name in compiling.ARCHITECTURES
]
