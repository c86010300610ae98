"""pool_pair: operator, autograd and the kernels (under the emulation) against float64 and PyTorch's own pools."""
# B batch, C channels, H height, W width, n upstream gradients

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.cuda_kernels.code_cache import CodeCache
from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.pool_pair.pair import (
    backward_launches,
    forward_launches,
    pool_pair,
    pool_pair_bwd,
    pool_pair_bwd_reference,
    pool_pair_reference,
)
from supernet.errors import SupernetError
from tests.kernels.test_kernels_compile import hold_the_ceilings
from tests.support.emulation import ORDERS, Emulator
from tests.support.kernel_checks import (
    ARCHITECTURES,
    Run,
    caught_barriers,
    code_cache,
    holds,
    inside,
    padded,
    poisoned,
    run_all,
    same_kind,
    untouched_around,
)

BF16 = torch.bfloat16
EPS = 1e-5
STATISTICS = ("mean", "var", "rstd")


@dataclass(frozen=True)
class Case:
    """A shape; `offset` moves the data off the alignment that wide accesses need; `level` is the mean of x."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    stride: int
    gradients: int = 2
    dtype: torch.dtype = torch.float32
    offset: int = 0
    level: float = 1.0

    def __str__(self) -> str:
        return f"{self.shape}-{self.stride}-{self.gradients}-{str(self.dtype)[6:]}-{self.offset}-{self.level:g}"

    @property
    def image(self) -> tuple[int, int, int, int]:
        b, c, h, w = self.shape
        return b, h, w, c

    @property
    def pooled(self) -> tuple[int, int, int, int]:
        b, c, h, w = self.shape
        return b, -(-h // self.stride), -(-w // self.stride), c


FEW = [
    Case((2, 16, 9, 11), 1, 4),  # several patches, some over the edge
    Case((2, 16, 9, 11), 2, 1, BF16),
    Case((1, 1, 1, 1), 1),
    Case((1, 5, 1, 6), 2, 3),  # one row
    Case((3, 17, 7, 5), 1, 2, BF16),  # single accesses, idle threads
    Case((2, 40, 19, 9), 1, 2, BF16),  # two tiles of channels, the second mostly empty
    Case((2, 64, 4, 4), 2, 1),
    Case((2, 8, 6, 7), 2, 2, BF16, offset=4),  # aligned for 8 bytes only
    Case((5, 4, 33, 17), 1, 1, level=300.0),  # a large mean costs no digits
    Case((2, 2, 8, 8), 2, 1),  # more sums of a warp than of a thread
]
TURNS = Case((2, 16, 17, 9), 1, 2)  # a block has several pixels


def random_cases(number: int, seed: int) -> Iterator[Case]:
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    for i in range(number):
        shape = pick(1, 3), pick(1, 40), pick(1, 20), pick(1, 20)
        yield Case(shape, pick(1, 2), pick(1, 5), (torch.float32, BF16)[i % 2], pick(0, 2))


MANY = [*random_cases(40, seed=0), Case((9, 16, 97, 91), 1), Case((2, 64, 9, 9), 1, 16, BF16)]


def nchw(x: Tensor) -> Tensor:
    """A channels-last [..., C, H, W] of [..., H, W, C]."""
    return x.movedim(-1, -3)


def inputs(case: Case) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """x, with equal values in many windows, upstream gradients, and (factor, b, c)."""
    draw = torch.Generator().manual_seed(1)

    def data(shape: tuple[int, ...]) -> Tensor:
        return nchw(padded((torch.randn(shape, generator=draw) * 4).round().div(2).to(case.dtype), case.offset))

    x = data(case.image)
    x += case.level
    channels, n = case.shape[1], case.gradients
    small = [torch.randn(size, generator=draw) for size in [(3, n, channels), (2, channels), (2, channels)]]
    return x, [data(case.pooled) for _ in range(n)], small


def launches(case: Case) -> Run:
    """What goes to the device for `case`, forward and backward, and its outputs, poisoned."""
    x, g, small = inputs(case)
    pooled = poisoned((2, *case.pooled), case.dtype, case.offset)
    out = {name: poisoned((2, case.shape[1])) for name in STATISTICS}
    out |= {"pooled": pooled, "dx": poisoned(case.image, case.dtype, case.offset)}
    views = nchw(pooled), nchw(out["dx"])
    run = forward_launches(x, case.stride, EPS, views[0], *(out[name] for name in STATISTICS))
    run += backward_launches(x, views[0], g, *small, case.stride, views[1])
    return run, out, (x, g, small)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator([launch.kernel for case in [*FEW, TURNS] for launch in launches(case)[0]])


def check_emulated(emulator: Emulator, case: Case) -> None:
    """Equals float64 as eager PyTorch does, the same bits in every order, nothing written beside the outputs."""
    found: dict[str, Tensor] = {}
    for order in ORDERS:
        run, out, (x, g, _) = launches(case)
        run_all(emulator, run, order, tensors=[x, *g, out["pooled"], out["dx"]])
        assert all(map(untouched_around, out.values()))
        assert all(torch.equal(y, found.setdefault(name, y)) for name, y in out.items()), f"order {order} differs"
    check_values(case, nchw(found["pooled"]), [found[name] for name in STATISTICS], nchw(found["dx"]))


def check_values(case: Case, pooled: Tensor, statistics: list[Tensor], dx: Tensor) -> None:
    """Against float64; what is stored is rounded to the case's dtype, also for the eager result."""
    x, g, (factor, b, c) = inputs(case)
    exact = inside(torch.float64, pool_pair_reference, x, case.stride, EPS)
    eager = pool_pair_reference(x, case.stride, EPS)
    assert torch.equal(pooled[0], eager[0][0])
    for y, usual, there in zip([pooled, *statistics], eager, exact, strict=True):
        assert holds(y, usual, there)
    there, usual = (
        inside(dtype, pool_pair_bwd_reference, x, pooled, g, factor, b, c, case.stride)
        for dtype in (torch.float64, torch.float32)
    )
    assert holds(dx, usual.to(case.dtype), there)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernels_equal_float64_in_every_order_of_threads(emulator: Emulator, case: Case) -> None:
    check_emulated(emulator, case)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_kernels_equal_float64_for_many_shapes() -> None:
    emulator = Emulator([launch.kernel for case in MANY for launch in launches(case)[0]])
    for case in MANY:
        check_emulated(emulator, case)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_stock_body_equals_float64(case: Case) -> None:
    x, g, small = inputs(case)
    pooled, *statistics = pool_pair(x, case.stride, EPS)
    dx = pool_pair_bwd(x, pooled, g, *small, case.stride)
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in (*pooled, dx))
    check_values(case, pooled, statistics, dx)


def test_every_barrier_of_the_kernels_is_needed(emulator: Emulator) -> None:
    caught = caught_barriers(emulator, lambda: launches(TURNS), ["pool_pair/pool_pair.cu"])
    assert caught == [False] + [True] * 6


@pytest.mark.parametrize("case", [FEW[0], FEW[1]], ids=str)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Case, poison: float) -> None:
    """In the input, in an upstream gradient and in a factor."""
    for where in ("x", "first", "g", "factor"):
        run, out, (x, g, small) = launches(case)
        x[1, 3, 2:4, 2:6] = poison if where == "x" else x[1, 3, 2:4, 2:6]  # several in one window
        x[0, 2, 0, 0] = poison if where == "first" else x[0, 2, 0, 0]  # the place that the sums begin at
        if where == "g":
            g[0][1, 5, 2, 3] = poison
        elif where == "factor":
            small[0][1, 0, 4] = poison
        run_all(emulator, run)
        eager = inside(torch.float32, pool_pair_reference, x, case.stride, EPS)
        pooled, *statistics = pool_pair(x, case.stride, EPS)
        dx = pool_pair_bwd_reference(x.float(), eager[0], [y.float() for y in g], *small, case.stride)
        for y in (pooled, nchw(out["pooled"])):
            same_kind(y, eager[0])
        for name, y, usual in zip(STATISTICS, statistics, eager[1:], strict=True):
            same_kind(y, usual)
            # The mean of infinities is one, or NaN, as PyTorch's own functions have it either way.
            assert torch.equal(out[name].isfinite(), usual.isfinite())
        for y in (nchw(out["dx"]), pool_pair_bwd(x, pooled, g, *small, case.stride)):
            same_kind(y, dx)


@pytest.mark.parametrize("kind", ["ties", "nan", "-inf", "zeros of both signs"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_maximum_is_found_where_pytorch_finds_it(emulator: Emulator, stride: int, kind: str) -> None:
    """Also among equal values and where several are NaN: gradients of one each show which was taken."""
    case = FEW[stride - 1]
    run, out, (x, g, small) = launches(case)
    drawn = torch.randint(0, 3, x.shape, generator=torch.Generator().manual_seed(2))
    marked = {"ties": 1.0, "nan": torch.nan, "-inf": -torch.inf, "zeros of both signs": -0.0}[kind]
    x.copy_(torch.where(drawn == 0, torch.tensor(marked, dtype=x.dtype), drawn.clamp_max(1).to(x.dtype) - 1))
    x[0] = marked
    small[0].zero_()[0, 0] = 1.0
    small[1].zero_(), small[2].zero_()
    g[0].copy_(torch.randn(g[0].shape))
    image = x.float().requires_grad_()
    usual = F.max_pool2d(image, 3, stride, padding=1)
    (there,) = torch.autograd.grad(usual, image, g[0].float())
    run_all(emulator, run[:2])
    torch.testing.assert_close(nchw(out["pooled"])[0].float(), usual.detach(), rtol=0, atol=0, equal_nan=True)
    out["pooled"].zero_()  # it counts times 0 here, which would be NaN
    run_all(emulator, run[2:])
    torch.testing.assert_close(nchw(out["dx"]).float(), there, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 1), (2, 2, 1, 3)])
def test_all_outputs_are_differentiable(shape: tuple[int, ...], stride: int) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_pair(x, stride, EPS), (x,))
    found, exact = pool_pair(x, stride, EPS), pool_pair_reference(x, stride, EPS)
    g = [torch.randn_like(y) for y in found]
    for part in ([0, 1, 2, 3], [0], [1, 3]):  # also where only some of them were used
        one, other = (torch.autograd.grad([y[i] for i in part], x, [g[i] for i in part], retain_graph=True)
                      for y in (found, exact))  # fmt: skip
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_whole_backward_equals_the_sum_of_its_parts(stride: int) -> None:
    """Several nodes take both pools, normalised, and the state itself: one call gives what autograd gives."""
    x = torch.randn((2, 3, 7, 6), dtype=torch.float64, requires_grad=True)
    pools = F.max_pool2d(x, 3, stride, 1), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    normed = [F.batch_norm(y, None, None, training=True, eps=EPS) for y in pools]
    p, g = torch.rand((3, 2), dtype=torch.float64), [torch.randn(pools[0].shape, dtype=torch.float64) for _ in range(2)]
    nodes = [sum(p[k, n] * y for k, y in enumerate([*normed, x] if stride == 1 else normed)) for n in range(2)]
    (there,) = torch.autograd.grad(nodes, x, g)
    pooled, mean, _, rstd = pool_pair(x.detach(), stride, EPS)
    count = g[0].numel() // g[0].shape[1]
    factor = torch.stack([p[0, :, None] * rstd[0], p[1, :, None] * rstd[1], p[2, :, None].expand(2, 3)])
    total = torch.stack([sum(p[i, n] * y for n, y in enumerate(g)) for i in range(2)])
    sums = total.sum((1, 3, 4)), (total * (pooled - mean[:, None, :, None, None])).sum((1, 3, 4))
    b = -(rstd**3) * sums[1] / count
    dx = pool_pair_bwd(x.detach(), pooled, g, factor, b, -rstd * sums[0] / count - b * mean, stride)
    torch.testing.assert_close(dx, there)


def test_other_layouts_give_the_same_and_two_runs_the_same_bits() -> None:
    x, g, small = inputs(Case((2, 6, 5, 4), 1))
    expected = pool_pair(x, 1, EPS)
    assert all(map(torch.equal, pool_pair(x.contiguous(), 1, EPS), expected))
    assert all(map(torch.equal, pool_pair(torch.cat([x, x], 1)[:, 6:], 1, EPS), expected))
    dx = pool_pair_bwd(x, expected[0], g, *small, 1)
    other = pool_pair_bwd(x.contiguous(), expected[0].contiguous(), [y.contiguous() for y in g], *small, 1)
    assert torch.equal(dx, other)


def test_a_second_derivative_is_refused() -> None:
    x = torch.randn((2, 3, 4, 5), requires_grad=True)
    (dx,) = torch.autograd.grad(pool_pair(x, 1, EPS)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="pool_pair_bwd"):
        dx.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # within opcheck
@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_opcheck(dtype: torch.dtype) -> None:
    x, g, small = inputs(Case((2, 5, 3, 4), 2, 2, dtype))
    torch.library.opcheck(pool_pair, (x.detach().requires_grad_(), 2, EPS))
    torch.library.opcheck(pool_pair_bwd, (x, pool_pair(x, 2, EPS)[0], g, *small, 2))


def test_mistakes_are_one_line() -> None:
    x, g, small = inputs(Case((2, 3, 4, 5), 1))
    pooled = pool_pair(x, 1, EPS)[0]
    for change, message in [
        (lambda: pool_pair(x, 3, EPS), "stride=3; 1 and 2 are allowed"),
        (lambda: pool_pair(x[0], 1, EPS), r"takes x as \[B, C, H, W\]"),
        (lambda: pool_pair(x.half(), 1, EPS), "torch.float16 of shape"),
        (lambda: pool_pair(x[:0], 1, EPS), r"of \(0, 3, 4, 5\): 1 to"),
        (lambda: pool_pair_bwd(x, pooled, [], *small, 1), "of 0 gradients: 1 to 16 are allowed"),
        (lambda: pool_pair_bwd(x, pooled, g, *small, 2), r"takes pooled as torch.float32 \(2, 2, 3, 2, 3\)"),
        (lambda: pool_pair_bwd(x, pooled, [g[0], g[1][:1]], *small, 1), r"g\[1\] is torch.float32 \(1, 3, 4, 5\)"),
        (lambda: pool_pair_bwd(x, pooled, g[:1], *small, 1), r"takes factor as torch.float32 \(3, 1, 3\)"),
        (lambda: pool_pair_bwd(x, pooled, g, small[0], small[1][0], small[2], 1), r"takes b as torch.float32 \(2, 3\)"),
    ]:
        with pytest.raises(SupernetError, match=message):
            change()


@pytest.fixture
def cache() -> CodeCache:
    return code_cache()


def kernels(storage: str, gradients: int, channels: int, vector: int, stride: int) -> list[Kernel]:
    names = [
        f"pool_pair_fwd<{storage}, {channels}, {vector}, {stride}>",
        f"pool_pair_finish<{channels}>",
        f"pool_pair_bwd<{storage}, {gradients}, {channels}, {vector}, {stride}>",
    ]
    return [Kernel("pool_pair/pool_pair.cu", name) for name in names]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for kernel in [*kernels("bf16", 4, 16, 8, 1), *kernels("float", 4, 32, 4, 2)]:
        hold_the_ceilings(kernel, architecture, cache)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_forms_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for storage, vectors in {"float": (1, 2, 4), "bf16": (1, 2, 4, 8)}.items():
        for vector in vectors:
            for gradients, channels, stride in [(1, 16, 2), (4, 64, 1), (3, 136, 1), (16, 64, 1)]:
                for kernel in kernels(storage, gradients, channels, vector, stride):
                    hold_the_ceilings(kernel, architecture, cache)
        for kernel in kernels(storage, 2, 17, 1, 1) + kernels(storage, 1, 1, 1, 2):
            hold_the_ceilings(kernel, architecture, cache)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("case", [*FEW, Case((64, 16, 32, 32), 1, 4, BF16), Case((64, 32, 32, 32), 2, 2)], ids=str)
def test_on_a_gpu_values_equal_float64_and_bits_repeat(case: Case) -> None:
    x, g, small = inputs(case)
    there = x.cuda(), [y.cuda() for y in g], [y.cuda() for y in small]

    def run() -> list[Tensor]:
        pooled, *statistics = pool_pair(there[0], case.stride, EPS)
        return [pooled, *statistics, pool_pair_bwd(there[0], pooled, there[1], *there[2], case.stride)]

    found, again = run(), run()
    assert all(map(torch.equal, found, again))
    pooled, *statistics, dx = (y.cpu() for y in found)
    check_values(case, pooled, statistics, dx)
