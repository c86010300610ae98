"""The CPU emulation of CUDA can fail: it finds races and missed barriers, and passes the same kernels made right."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.addresses import pointer
from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.gpu.launch import THREADS, Launch
from tests.support.emulation import ORDERS, Emulator

RACY = str(Path(__file__).resolve().parents[1] / "support" / "racy.cu")
NAMES = ["turn<true>", "turn<false>", "halfway", "left", "twice", "wide<0>", "wide<1>"]
NAMES += [f"rounds<{barrier}, {distance}>" for barrier in ("true", "false") for distance in (1, THREADS - 1)]


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator([Kernel(RACY, name) for name in NAMES])


def outputs(emulator: Emulator, name: str, blocks: int = 1) -> list[Tensor]:
    """What a kernel writes, for each order of the threads."""
    x = torch.arange(1.0, THREADS + 1)
    found = []
    for order in ORDERS:
        out = torch.full_like(x, torch.nan)
        emulator.run(Launch(Kernel(RACY, name), (blocks, 1, 1), (pointer(x), pointer(out))), order)
        found.append(out)
    return found


def test_a_barrier_orders_what_is_written_and_read(emulator: Emulator) -> None:
    for out in outputs(emulator, "turn<true>"):
        assert torch.equal(out, torch.arange(THREADS, 0, -1.0))


def test_a_read_before_the_write_shows(emulator: Emulator) -> None:
    assert all(out.isnan().any() for out in outputs(emulator, "turn<false>"))


@pytest.mark.parametrize("distance", [1, THREADS - 1])
def test_a_buffer_that_is_overwritten_early_shows(emulator: Emulator, distance: int) -> None:
    right = 6 * torch.arange(1.0, THREADS + 1).roll(-distance)
    assert all(torch.equal(out, right) for out in outputs(emulator, f"rounds<true, {distance}>"))
    wrong = [not torch.equal(out, right) for out in outputs(emulator, f"rounds<false, {distance}>")]
    assert any(wrong)


@pytest.mark.parametrize("name", ["halfway", "left"])
def test_threads_that_miss_a_barrier_or_a_shuffle_are_an_error(emulator: Emulator, name: str) -> None:
    with pytest.raises(RuntimeError, match="not all threads reach"):
        outputs(emulator, name)


def test_two_blocks_that_write_one_place_show(emulator: Emulator) -> None:
    first, *others = outputs(emulator, "twice", blocks=3)
    assert any(not torch.equal(first, other) for other in others)


@pytest.mark.parametrize(("offset", "short", "message"), [(0, 1, "outside of all tensors"), (1, 0, "not aligned")])
def test_a_wide_access_beside_the_tensor_is_an_error(emulator: Emulator, offset: int, short: int, message: str) -> None:
    x, out = torch.zeros(4 * THREADS + 4), torch.zeros(THREADS)
    launch = Launch(Kernel(RACY, f"wide<{offset}>"), (1, 1, 1), (pointer(x), pointer(out)))
    if offset == 0:
        emulator.run(launch, tensors=[x[: 4 * THREADS]])
    with pytest.raises(RuntimeError, match=message):
        emulator.run(launch, tensors=[x[: 4 * THREADS + 4 - 5 * short]])
