"""node_mix_shuffled: operator, autograd and the kernel itself (under the emulation) against float64."""
# B batch, c channels that were mixed, H height, W width, T terms, E bypasses, k parts of the channels

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.node_mix.shuffled import (
    node_mix_shuffled,
    node_mix_shuffled_reference,
    shuffled_launches,
    unshuffle,
)
from supernet.errors import SupernetError
from supernet.network.cells.partial_channels import join
from tests.support.emulation import ORDERS, Emulator
from tests.support.kernel_checks import Run, holds, inside, padded, poisoned, run_all, same_kind, untouched_around

BF16 = torch.bfloat16


@dataclass(frozen=True)
class Shuffled:
    """A shape [B, c, H, W] of what was mixed, and how many of each there are."""

    shape: tuple[int, int, int, int]
    terms: int
    bypasses: int
    k: int
    dtype: torch.dtype = torch.float32
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.terms}x{self.shape}-{self.bypasses}-{self.k}-{str(self.dtype)[6:]}-{self.offset}"


FEW = [
    Shuffled((2, 16, 9, 8), 5, 2, 4),
    Shuffled((3, 8, 7, 5), 14, 5, 4, BF16),
    Shuffled((1, 1, 1, 1), 1, 1, 2),
    Shuffled((2, 5, 3, 7), 3, 1, 3, BF16),  # single accesses, idle threads
    Shuffled((2, 72, 3, 3), 2, 2, 2, BF16),  # two tiles of channels, the second mostly empty
    Shuffled((2, 8, 3, 3), 2, 1, 8),  # many parts
    Shuffled((2, 8, 3, 3), 2, 1, 4, BF16, offset=4),  # aligned for 8 bytes only
]


def inputs(case: Shuffled) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
    """Terms, (mean, scale, shift, p), bypasses and beta. The bypasses' first channels, which nobody reads, are NaN."""
    draw = torch.Generator().manual_seed(1)
    b, c, h, w = case.shape

    def data(channels: int) -> Tensor:
        values = torch.randn((b, h, w, channels), generator=draw).to(case.dtype)
        return padded(values, case.offset).permute(0, 3, 1, 2)

    small = [torch.randn((case.terms, c), generator=draw) for _ in range(3)] + [torch.rand(case.terms, generator=draw)]
    bypass = [data(case.k * c) for _ in range(case.bypasses)]
    for x in bypass:
        x[:, :c] = torch.nan
    return [data(c) for _ in range(case.terms)], small, bypass, torch.rand(case.bypasses, generator=draw)


def shuffled_launch(case: Shuffled) -> Run:
    """What goes to the device for `case`, the output, poisoned, and the inputs, to be kept until it has run."""
    z, small, bypass, beta = inputs(case)
    b, c, h, w = case.shape
    out = poisoned((b, h, w, case.k * c), case.dtype, case.offset).permute(0, 3, 1, 2)
    run = shuffled_launches(z, *small, bypass, beta, case.k, out)
    return run, {"out": out}, (z, small, bypass, beta)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator([launch.kernel for case in FEW for launch in shuffled_launch(case)[0]])


def check_values(case: Shuffled, out: Tensor) -> None:
    z, small, bypass, beta = inputs(case)
    there, usual = (
        inside(dtype, node_mix_shuffled_reference, z, *small, bypass, beta, case.k)
        for dtype in (torch.float64, torch.float32)
    )
    assert holds(out, usual.to(case.dtype), there)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernel_equals_float64_in_every_order_of_threads(emulator: Emulator, case: Shuffled) -> None:
    first: Tensor | None = None
    for order in ORDERS:
        run, out, kept = shuffled_launch(case)
        run_all(emulator, run, order, tensors=[*kept[0], *kept[2], out["out"]])
        first = out["out"] if first is None else first
        assert untouched_around(out["out"]) and torch.equal(out["out"], first), f"order {order} differs"
    check_values(case, out["out"])


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_stock_body_equals_float64(case: Shuffled) -> None:
    z, small, bypass, beta = inputs(case)
    out = node_mix_shuffled(z, *small, bypass, beta, case.k)
    assert out.dtype == case.dtype and out.is_contiguous(memory_format=torch.channels_last)
    check_values(case, out)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("case", FEW[:2], ids=str)
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Shuffled, poison: float) -> None:
    run, out, (z, small, bypass, beta) = shuffled_launch(case)
    z[1][1, 5, 2, 3] = bypass[0][0, -2, 1, 4] = poison
    beta[1] = 0.0
    run_all(emulator, run)
    there = node_mix_shuffled_reference([x.float() for x in z], *small, [x.float() for x in bypass], beta, case.k)
    same_kind(out["out"], there)
    same_kind(node_mix_shuffled(z, *small, bypass, beta, case.k), there)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_shuffle_is_that_of_the_cells_and_unshuffle_its_inverse(k: int) -> None:
    mixed, bypass = torch.randn(2, 5, 3, 4), torch.randn(2, 5 * k, 3, 4)
    one, none = torch.ones((1, 5)), torch.zeros((1, 5))
    node = node_mix_shuffled([mixed], none, one, none, torch.ones(1), [bypass], torch.ones(1), k)
    torch.testing.assert_close(node, join(mixed, bypass[:, 5:], k))
    back = unshuffle(node, k)
    torch.testing.assert_close(back, (mixed, bypass[:, 5:]))
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in back)


@pytest.mark.parametrize("k", [2, 4])
def test_gradients_equal_float64(k: int) -> None:
    z, small, bypass, beta = inputs(Shuffled((2, 3, 4, 5), 3, 2, k))
    z, small, bypass = ([x.double().requires_grad_() for x in group] for group in (z, small, bypass))
    with torch.no_grad():
        for x in bypass:
            x.nan_to_num_(0.5)
    beta = beta.double().requires_grad_()
    leaves = [*z, *small, *bypass, beta]
    found, exact = (f(z, *small, bypass, beta, k) for f in (node_mix_shuffled, node_mix_shuffled_reference))
    g = torch.randn_like(exact)
    torch.testing.assert_close(torch.autograd.grad(found, leaves, g), torch.autograd.grad(exact, leaves, g))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # within opcheck
@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_opcheck(dtype: torch.dtype) -> None:
    z, small, bypass, beta = inputs(Shuffled((2, 3, 4, 5), 3, 2, 2, dtype))
    z, small, bypass = ([x.detach().nan_to_num().requires_grad_() for x in group] for group in (z, small, bypass))
    torch.library.opcheck(node_mix_shuffled, (z, *small, bypass, beta.requires_grad_(), 2))


def test_mistakes_are_one_line() -> None:
    z, small, bypass, beta = inputs(Shuffled((2, 3, 4, 5), 3, 2, 2))
    for change, message in [
        (lambda: node_mix_shuffled(z, *small, bypass, beta, 1), "k=1: allowed are 1 to 64 each, k of 2 to 32"),
        (lambda: node_mix_shuffled(z, *small, [], beta, 2), "3 terms, 0 bypasses"),
        (
            lambda: node_mix_shuffled(z, *small, bypass, beta, 3),
            r"bypass is torch.float32 \(2, 6, 4, 5\), not .*k=3 times",
        ),
        (lambda: node_mix_shuffled(z, *small, bypass[:1], beta, 2), r"takes beta as torch.float32 \(1,\)"),
    ]:
        with pytest.raises(SupernetError, match=message):
            change()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("case", [*FEW, Shuffled((64, 16, 32, 32), 14, 2, 4, BF16)], ids=str)
def test_on_a_gpu_values_equal_float64_and_bits_repeat(case: Shuffled) -> None:
    z, small, bypass, beta = inputs(case)
    there = [x.cuda() for x in z], [x.cuda() for x in small], [x.cuda() for x in bypass], beta.cuda()
    found, again = (node_mix_shuffled(there[0], *there[1], there[2], there[3], case.k) for _ in range(2))
    assert torch.equal(found, again)
    check_values(case, found.cpu())
