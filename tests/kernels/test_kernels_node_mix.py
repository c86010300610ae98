"""node_mix: operator, CPU body and the kernels themselves (under the emulation) against float64."""
# B batch, C channels, H height, W width, T terms

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.gpu.geometry import Geometry, geometry
from supernet.cuda_kernels.node_mix.mix import (
    forward_launches,
    node_mix,
    node_mix_bwd_reduce,
    node_mix_reference,
    node_mix_reference_sums,
    reduce_launches,
)
from tests.kernels.test_kernels_shuffled import Shuffled, shuffled_launch
from tests.support.emulation import ORDERS, Emulator
from tests.support.kernel_checks import (
    Run,
    caught_barriers,
    holds,
    inside,
    padded,
    poisoned,
    run_all,
    same_kind,
    untouched_around,
)

SUMS = ("dp", "sum_g", "sum_gz", "coef")


@dataclass(frozen=True)
class Case:
    """A shape; `offset` moves the data off the alignment that wide accesses need; with `off` there is a gate."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    terms: int
    dtype: torch.dtype = torch.float32
    offset: int = 0
    off: tuple[int, ...] | None = field(default=None)

    def __str__(self) -> str:
        return f"{self.terms}x{self.shape}-{str(self.dtype)[6:]}-{self.offset}-{self.off}"


def random_cases(number: int, seed: int) -> Iterator[Case]:
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    for i in range(number):
        shape = pick(1, 3), pick(1, 40), pick(1, 9), pick(1, 9)
        terms = pick(1, 12)
        off = tuple(t for t in range(terms) if pick(0, 1)) if i % 3 == 0 else None
        yield Case(shape, terms, (torch.float32, torch.bfloat16)[i % 2], pick(0, 2), off)


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
    Case((3, 16, 7, 5), 14, BF16, off=(0, 1, 3, 4, 5, 7, 9, 13)),
    Case((2, 5, 3, 7), 3, off=(0, 1, 2)),  # nothing runs
]
MANY = [*random_cases(40, seed=0), Case((5, 64, 31, 33), 35, BF16), Case((8, 16, 97, 91), 3), Case((2, 24, 9, 9), 64)]


def inputs(case: Case) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor | None]:
    """Terms, (mean, scale, shift, rstd, p), an upstream gradient and the gate.

    They are of a batch norm's size, with means apart from 0; the first term's statistics are constants. What does not
    run is NaN throughout.
    """
    draw = torch.Generator().manual_seed(1)
    b, c, h, w = case.shape

    def data() -> Tensor:
        values = torch.randn((b, h, w, c), generator=draw) * 2 + 1
        return padded(values.to(case.dtype), case.offset).permute(0, 3, 1, 2)

    mean = torch.randn((case.terms, c), generator=draw)
    scale = torch.rand((case.terms, c), generator=draw) + 0.5
    shift = torch.randn((case.terms, c), generator=draw)
    p = torch.softmax(torch.randn(case.terms, generator=draw), 0)
    z, g, rstd = [data() for _ in range(case.terms)], data(), 1 / scale
    rstd[0] = 0.0
    for t in case.off or ():
        for x in (z[t], mean[t], scale[t], shift[t], rstd[t], p[t]):
            x.fill_(torch.nan)
    gate = None if case.off is None else torch.tensor([float(t not in case.off) for t in range(case.terms)])
    return z, [mean, scale, shift, rstd, p], g, gate


def forward(small: list[Tensor]) -> list[Tensor]:
    """mean, scale, shift, p: `small` without rstd."""
    return small[:3] + small[4:]


def launches(case: Case) -> Run:
    """What goes to the device for `case`, the outputs, poisoned, and the inputs, to be kept until it has run."""
    z, small, g, gate = inputs(case)
    b, c, h, w = case.shape
    terms = case.terms
    out = {name: poisoned(s) for name, s in zip(SUMS, [(terms,), (c,), (terms, c), (terms, 3, c)], strict=True)}
    node = poisoned((b, h, w, c), case.dtype, case.offset).permute(0, 3, 1, 2)
    run = forward_launches(z, *forward(small), gate, node) + reduce_launches(g, z, *small, gate, *out.values())
    return run, out | {"out": node}, (z, small, g, gate)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    kernels = [launch.kernel for case in FEW for launch in launches(case)[0]]
    return Emulator([*kernels, *(launch.kernel for launch in gated_and_shuffled()[0])])


def check_emulated(emulator: Emulator, case: Case) -> None:
    """Equals float64 as eager PyTorch does, the same bits in every order, nothing written beside the outputs."""
    found: dict[str, Tensor] = {}
    for order in ORDERS:
        run, out, kept = launches(case)
        run_all(emulator, run, order, tensors=[*kept[0], kept[2], out["out"]])
        assert all(map(untouched_around, out.values()))
        assert all(torch.equal(x, found.setdefault(name, x)) for name, x in out.items()), f"order {order} differs"
    check_values(case, found["out"], [found[name] for name in SUMS])


def check_values(case: Case, out: Tensor, sums: Sequence[Tensor]) -> None:
    """Against float64, with the error of eager float32; only what is stored is rounded to the case's dtype."""
    z, small, g, gate = inputs(case)
    both = (torch.float64, torch.float32)
    there, usual = (inside(dtype, node_mix_reference, z, *forward(small), gate) for dtype in both)
    assert holds(out, usual.to(case.dtype), there)
    there, usual = (inside(dtype, node_mix_reference_sums, g, z, *small, gate) for dtype in both)
    for name, x, plain, value in zip(SUMS, sums, usual, there, strict=True):
        assert holds(x, plain, value), name


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernels_equal_float64_in_every_order_of_threads(emulator: Emulator, case: Case) -> None:
    check_emulated(emulator, case)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_kernels_equal_float64_for_many_shapes() -> None:
    emulator = Emulator([launch.kernel for case in MANY for launch in launches(case)[0]])
    for case in MANY:
        check_emulated(emulator, case)


def test_random_shapes_are_odd_enough() -> None:
    vectors = {geometry_of(case).vector for case in MANY}
    assert vectors == {1, 2, 4, 8}
    assert any(case.shape[0] == 1 for case in MANY) and any(case.shape[1] % 8 for case in MANY)


def geometry_of(case: Case) -> Geometry:
    z, _, g, _ = inputs(case)
    return geometry(case.shape[1], [*z, g])


def gated_and_shuffled() -> Run:
    """A node with a gate, and the kernel of partial channels, which has a barrier of its own."""
    run, out, inputs_ = launches(Case((2, 40, 5, 5), 9, off=()))
    other, shuffled, others = shuffled_launch(Shuffled((2, 8, 5, 5), 3, 1, 2))
    return run + other, out | {"shuffled": shuffled["out"]}, (inputs_, others)


def test_every_barrier_of_the_kernels_is_needed(emulator: Emulator) -> None:
    assert caught_barriers(emulator, gated_and_shuffled, ["node_mix/node_mix.cu"]) == [False] + [True] * 8


@pytest.mark.parametrize("case", [FEW[1], FEW[0]], ids=str)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Case, poison: float) -> None:
    """In a term, in the gradient and in a norm's scale; also where the weight is 0."""
    for where in ("z", "g", "scale"):
        run, out, (z, small, g, _) = launches(case)
        small[4][3] = 0.0
        if where == "scale":
            small[1][2, 5] = poison
        else:
            (z[3] if where == "z" else g)[1, 5, 2, 3] = poison
        run_all(emulator, run)
        expected = node_mix_reference([x.float() for x in z], *forward(small))
        sums = node_mix_reference_sums(g.float(), [x.float() for x in z], *small)
        body = node_mix_bwd_reduce(g, z, *small)
        for x in (out["out"], node_mix(z, *forward(small))):
            same_kind(x, expected)
        for name, x, y in zip(SUMS, body, sums, strict=True):
            same_kind(x, y)
            same_kind(out[name], y)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_shows_everywhere(emulator: Emulator, poison: float) -> None:
    """An infinite weight may give NaN where PyTorch gives an infinity: it meets the two halves of a norm apart."""
    run, out, (z, small, _, _) = launches(FEW[0])
    small[4][2] = poison
    emulator.run(run[0])
    assert not out["out"].isfinite().any() and not node_mix(z, *forward(small)).isfinite().any()
