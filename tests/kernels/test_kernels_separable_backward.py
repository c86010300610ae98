"""The backward kernels of separable convolutions, under the emulation, against float64; registers; what is launched."""
# B batch, C channels, H height, W width, n branches, k size of a filter

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.code_cache import CodeCache
from supernet.cuda_kernels.gpu.compile import compile_kernel
from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.gpu.launch import Launch
from supernet.cuda_kernels.separable import backward as module
from supernet.cuda_kernels.separable.backward import (
    MOST_BRANCHES,
    SHARED,
    SecondGradients,
    Shape,
    data_tile,
    edge_group_bwd_launches,
    sep_second_bwd_launches,
    weight_tile,
)
from supernet.cuda_kernels.separable.branches import Branches, Norm, Upstream
from supernet.cuda_kernels.separable.edge_group import edge_group_bwd, edge_group_bwd_reference
from supernet.cuda_kernels.separable.sep_second import sep_second_bwd, sep_second_bwd_reference
from tests.support.emulation import ORDERS, Emulator
from tests.support.kernel_checks import (
    ARCHITECTURES,
    Run,
    caught_barriers,
    code_cache,
    error,
    holds,
    inside,
    padded,
    poisoned,
    run_all,
    same_kind,
    untouched_around,
)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
BF16 = torch.bfloat16
DARTS = ((3, 1), (5, 1), (3, 2), (5, 2))
PAIR = ((3, 1), (5, 1))
EVERY = (*DARTS, (7, 1), (7, 2))
EDGE, SECOND = ("dx", "ddw", "dpw"), ("d1", "coef1", "sum_d", "sum_dz", "ddw", "dpw")
Given = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Case:
    """`filters` are (size, dilation) of each branch; `second` is sep_second_bwd, else edge_group_bwd."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    filters: tuple[tuple[int, int], ...]
    dtype: torch.dtype = torch.float32
    stride: int = 1
    second: bool = False
    offset: int = 0  # moves the data off the alignment that wide accesses need
    gate: tuple[float, ...] | None = None
    weights: bool = True
    add: bool = True

    def __str__(self) -> str:
        forms = "".join(f"{size}{'' if dilation == 1 else 'd'}" for size, dilation in self.filters)
        who = "second" if self.second else "edge"
        return f"{who}-{self.shape}-{forms}-{str(self.dtype)[6:]}-{self.stride}-{self.offset}"

    @property
    def out(self) -> tuple[int, int, int, int]:
        """B, H', W', C: the memory order."""
        b, c, h, w = self.shape
        return b, -(-h // self.stride), -(-w // self.stride), c


FEW = [
    Case((1, 16, 9, 10), DARTS, BF16),  # more than one tile each way
    Case((2, 5, 3, 4), PAIR, BF16, stride=2),  # C odd: single accesses
    Case((1, 20, 9, 6), DARTS, stride=2, weights=False, add=False),
    Case((1, 1, 1, 1), PAIR),
    Case((1, 72, 4, 3), ((3, 2), (5, 1)), BF16),  # more channels than a block's outputs
    Case((2, 16, 5, 5), (*DARTS, (3, 1)), BF16, gate=(1.0, 0.0, 0.5, 1.0, 0.0)),
    Case((1, 16, 5, 5), ((7, 1), (7, 2)), offset=1),
    Case((1, 32, 5, 9), PAIR, BF16, second=True),
    Case((3, 17, 4, 3), PAIR, second=True),
    Case((2, 16, 5, 5), PAIR, BF16, second=True, gate=(0.0, 1.0)),
]
TURNS = [
    Case((2, 16, 9, 9), ((3, 1), (7, 2), (3, 1))),  # float: room for one buffer
    Case((2, 24, 9, 9), PAIR, BF16, second=True),
]
MANY = [
    Case((2, 32, 16, 16), DARTS, BF16),
    Case((2, 64, 8, 8), DARTS * 2, BF16),
    Case((1, 16, 33, 37), DARTS),
    Case((1, 16, 32, 32), PAIR, BF16, second=True),
    Case((2, 64, 9, 8), PAIR, BF16, second=True, weights=False),
    Case((1, 36, 17, 18), EVERY, BF16, stride=2),
    Case((1, 72, 7, 7), EVERY, stride=2),
    Case((1, 136, 3, 3), PAIR, second=True),
    Case((1, 136, 3, 3), ((7, 1),), BF16, second=True),
    Case((3, 12, 7, 9), ((7, 2), (3, 2)), BF16),
    Case((2, 8, 14, 14), ((7, 1),), BF16, offset=4),
    Case((3, 3, 8, 31), ((7, 2),), stride=2),
]


def image(shape: Sequence[int], draw: torch.Generator, case: Case) -> Tensor:
    """[..., C, H, W] of random values in the memory order ..., H, W, C, amid poison."""
    return padded(torch.randn(tuple(shape), generator=draw).to(case.dtype), case.offset).movedim(-1, -3)


def inputs(case: Case) -> Given:
    """`x` (one, or one a branch), `norm` = mean, scale, shift, rstd, `dw`, `pw`, `g`, `z`, `coef`, `add`, `gate`."""
    draw = torch.Generator().manual_seed(1)
    (b, c, h, w), n = case.shape, len(case.filters)
    x = [image((b, h, w, c), draw, case) for _ in range(n if case.second else 1)]
    norm = [torch.randn((n, c), generator=draw) * 0.3, *(torch.rand((n, c), generator=draw) + 0.5 for _ in range(3))]
    norm[3][:, 0] = 0.0  # a constant statistic
    g = [image(case.out, draw, case) for _ in range(n)]
    z = [image((n, *case.out), draw, case)]
    for i in range(n if case.gate else 0):
        if case.gate is not None and case.gate[i] == 0:  # must not be read
            g[i].fill_(torch.nan), z[0][i].fill_(torch.nan)
    if not case.gate:
        g[-1] = g[0]  # edges into one node
    dw = [torch.randn((c, 1, size, size), generator=draw) / size for size, _ in case.filters]
    pw = [torch.randn((c, c, 1, 1), generator=draw) / c**0.5 for _ in range(n)]
    add = [image((b, h, w, c), draw, case)] if case.add else []
    gate = [] if case.gate is None else [torch.tensor(case.gate)]
    coef = [torch.randn((n, 3, c), generator=draw)]
    return {"x": x, "norm": norm, "dw": dw, "pw": pw, "g": g, "z": z, "coef": coef, "add": add, "gate": gate}


def arguments(case: Case, given: Given) -> tuple[object, ...]:
    """Those of the operator, in its order."""
    gate, coef, z = (given["gate"] or [None])[0], given["coef"][0], given["z"][0]
    if case.second:
        return given["x"], *given["norm"], given["dw"], given["pw"], given["g"], z, coef, case.weights, gate
    dilation, add = tuple(d for _, d in case.filters), (given["add"] or [None])[0]
    first = (given["x"][0], given["dw"], given["pw"], dilation, case.stride)
    return *first, given["g"], z, coef, add, case.weights, gate


def outputs(case: Case) -> Given:
    """Poisoned room for what the operator returns, each a list."""
    (b, c, h, w), n = case.shape, len(case.filters)
    kinds = range(n if case.weights else 0)
    weights = {
        "ddw": [poisoned((c, 1, case.filters[i][0], case.filters[i][0])) for i in kinds],
        "dpw": [poisoned((c, c, 1, 1)) for _ in kinds],
    }
    if not case.second:
        return {"dx": [poisoned((b, h, w, c), case.dtype, case.offset).movedim(-1, -3)]} | weights
    small = {"coef1": [poisoned((n, 3, c))], "sum_d": [poisoned((n, c))], "sum_dz": [poisoned((n, c))]}
    return {"d1": [poisoned((n, b, h, w, c), case.dtype, case.offset).movedim(-1, -3)]} | small | weights


def launches(case: Case, given: Given, out: Given) -> list[Launch]:
    """What goes to the device."""
    single = [x if name in ("ddw", "dpw") else x[0] for name, x in out.items()]
    gate, add = (given["gate"] or [None])[0], (given["add"] or [None])[0]
    branches = Branches(given["dw"], given["pw"], [d for _, d in case.filters], gate)
    upstream = Upstream(given["g"], given["z"][0], given["coef"][0])
    if case.second:
        return sep_second_bwd_launches(given["x"], Norm(*given["norm"]), branches, upstream, SecondGradients(*single))
    return edge_group_bwd_launches(given["x"][0], branches, case.stride, upstream, add, *single)


def expected(case: Case, given: Given, dtype: torch.dtype) -> Given:
    """The reference computed in `dtype` throughout."""
    function = sep_second_bwd_reference if case.second else edge_group_bwd_reference
    found = inside(dtype, function, *arguments(case, given))
    return {n: x if isinstance(x, list) else [x] for n, x in zip(SECOND if case.second else EDGE, found, strict=True)}


def check_values(case: Case, given: Given, out: Given) -> None:
    """Against float64, with the error of eager PyTorch in the case's type; what does not run is exactly zero."""
    exact, usual = expected(case, given, torch.float64), expected(case, given, case.dtype)
    for name, there in exact.items():
        assert len(out[name]) == len(there)
        for i, (x, plain, value) in enumerate(zip(out[name], usual[name], there, strict=True)):
            runs = [True] * len(case.filters) if case.gate is None else [on != 0 for on in case.gate]
            if name == "d1":  # a closed branch is as it was
                assert all(on or d.isnan().all() for on, d in zip(runs, x, strict=True))
                x, plain, value = x[runs], plain[runs], value[runs]
            elif name in ("ddw", "dpw") and not runs[i]:
                assert not x.any()
            elif name in SECOND[1:4]:
                assert not x[[not on for on in runs]].any()
            assert holds(x, plain, value), f"{name}[{i}]: {error(x, value)} for {error(plain, value)}"


def run(emulator: Emulator, case: Case, order: int = 0) -> tuple[Given, Given]:
    """Inputs and outputs of `case`; wide accesses stay within the tensors."""
    given, out = inputs(case), outputs(case)
    tensors = [x for name in given for x in given[name]] + [x for name in ("dx", "d1") for x in out.get(name, [])]
    run_all(emulator, launches(case, given, out), order, tensors)
    return given, out


def kernels_of(cases: Sequence[Case]) -> list[Kernel]:
    return list(dict.fromkeys(one.kernel for case in cases for one in launches(case, inputs(case), outputs(case))))


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator(kernels_of([*FEW, *TURNS]))


def check_emulated(emulator: Emulator, case: Case, orders: Sequence[int]) -> None:
    """Equals float64 as eager PyTorch does, the same bits in every order, nothing written beside the outputs."""
    first: Given = {}
    for order in orders:
        given, out = run(emulator, case, order)
        assert all(untouched_around(x) for group in out.values() for x in group)
        if not first:
            check_values(case, given, first := out)
        for name, group in out.items():
            for x, y in zip(group, first[name], strict=True):
                assert torch.equal(x.nan_to_num(7), y.nan_to_num(7)), f"{name}: order {order} differs"


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernels_equal_float64_in_every_order_of_threads(emulator: Emulator, case: Case) -> None:
    check_emulated(emulator, case, ORDERS if case in FEW[:2] else ORDERS[::2])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_kernels_equal_float64_for_many_shapes() -> None:
    emulator = Emulator(kernels_of(MANY))
    for case in MANY:
        check_emulated(emulator, case, ORDERS[:3])


@pytest.mark.parametrize("case", TURNS, ids=["edge_group", "sep_second"])
def test_every_barrier_of_the_kernels_is_needed_and_missed(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """Each barrier left out in turn: some order of the threads then gives other values."""
    monkeypatch.setattr(module, "BLOCKS", 1)  # every block takes several tiles
    check_values(case, *run(emulator, case))

    def prepare() -> Run:
        given, out = inputs(case), outputs(case)
        flat = {f"{name}[{i}]": x for name, group in out.items() for i, x in enumerate(group)}
        return launches(case, given, out), flat, given

    sources = [prepare()[0][0].kernel.source, "separable/weights.cuh", "separable/backward.cuh"]
    assert caught_barriers(emulator, prepare, sources) == [False] + [True] * (7 if case.second else 6)


@pytest.mark.parametrize("case", [FEW[0], FEW[8]], ids=str)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Case, poison: float) -> None:
    """In the input, in the gradient, in its factors and in the pointwise weights."""
    c = case.shape[1] // 2
    for where in ("x", "g", "coef", "pw"):
        given, out = inputs(case), outputs(case)
        place = {"x": (0, c, 2, 1), "g": (0, c, 2, 1), "coef": (1, 2, c), "pw": (c, 0)}[where]
        given[where][0][place] = poison
        run_all(emulator, launches(case, given, out))
        there = expected(case, given, torch.float32)
        for name in ("dx",) if not case.second else ("d1", "sum_d", "sum_dz"):
            same_kind(out[name][0].float(), there[name][0].reshape(out[name][0].shape))
        for x, y in zip(out["dpw"], there["dpw"], strict=True):
            assert torch.equal(x.isfinite(), y.isfinite()), where


# Of a thread: with 256 threads a block and 65,536 registers, 128 let two blocks stand on a multiprocessor.
CEILINGS = {
    "edge_group_bwd": 128,
    "edge_group_bwd_weights": 128,
    "edge_group_bwd_weights_finish": 48,
    "sep_second_bwd": 128,
    "sep_second_bwd_weights": 128,
    "sep_second_bwd_weights_finish": 48,
    "sep_second_bwd_finish": 48,
}
USUAL = [Case((64, 16, 32, 32), DARTS * 4, BF16), Case((64, 16, 32, 32), PAIR, BF16, second=True)]
MORE = [Case((64, c, 512 // c * stride, 512 // c * stride), filters, dtype, stride, second)
        for filters, stride, second in ((DARTS, 1, False), (DARTS, 2, False), (PAIR, 1, True))
        for c in (16, 32, 64) for dtype in (BF16, torch.float32)]  # fmt: skip
WIDE = [Case((2, c, 33, 33), filters, dtype, stride, second)
        for filters, stride, second in ((EVERY, 1, False), (EVERY, 2, False), ((*PAIR, (7, 1)), 1, True))
        for c in (5, 36, 136) for dtype in (BF16, torch.float32)]  # fmt: skip


@pytest.fixture
def cache() -> CodeCache:
    return code_cache()


def compiled(case: Case) -> list[Kernel]:
    """The kernels of a case that is built on the meta device, which holds no data."""
    with torch.device("meta"):
        n, dw = len(case.filters), [torch.empty((case.shape[1], 1, k, k)) for k, _ in case.filters]
        data = torch.empty((n, *case.out), dtype=case.dtype).movedim(-1, -3)
        x = torch.empty(case.shape, dtype=case.dtype)
        small = torch.empty((n, case.shape[1]))
    branches, upstream = Branches(dw, dw, [d for _, d in case.filters]), Upstream(list(data), data, small)
    if case.second:
        out = SecondGradients(data, small, small, small, dw, dw)
        run = sep_second_bwd_launches([x] * n, Norm(*[small] * 4), branches, upstream, out)
    else:
        run = edge_group_bwd_launches(x, branches, case.stride, upstream, x, x, dw, dw)
    return [one.kernel for one in run]


def hold_the_ceilings(kernel: Kernel, architecture: str, cache: CodeCache) -> None:
    code = compile_kernel(kernel, architecture, cache)
    name = kernel.name.partition("<")[0]
    # One block on a multiprocessor: filters of 7, with 49 taps a channel, and the weights' gradients in float.
    alone = "finish" not in name and (7 in sizes_of(kernel) or "weights<float" in kernel.name)
    ceiling = 255 if alone else CEILINGS[name]
    assert (code.spilled, code.stack) == (0, 0), f"{kernel.name} on {architecture} spills"
    assert code.registers <= ceiling, f"{kernel.name} on {architecture}: {code.registers}"
    assert code.shared <= SHARED


def sizes_of(kernel: Kernel) -> set[int]:
    """The filters' sizes in a kernel's mask, which stands before the tile."""
    mask = int(kernel.name.strip(">").split(", ")[-4])
    return {kind % 3 * 2 + 3 for kind in range(6) if mask >> kind & 1}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for case in USUAL:
        for kernel in compiled(case):
            hold_the_ceilings(kernel, architecture, cache)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_forms_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for case in [*MORE, *WIDE]:
        for kernel in compiled(case):
            hold_the_ceilings(kernel, architecture, cache)


def test_every_form_has_tiles_that_fit() -> None:
    for channels in (1, 5, 16, 17, 40, 64, 136, 512):
        for dtype in (BF16, torch.float32):
            for stride, size in ((stride, size) for stride in (1, 2) for size in (1, 7, 32, 224)):
                for filters in (DARTS, EVERY, PAIR, ((7, 2),)):
                    shape = Shape((2, channels, size, size), dtype, 1, stride, filters)
                    for down, across, width in (data_tile(shape), weight_tile(shape)):
                        assert down * across * width % 256 == 0


def test_what_is_launched() -> None:
    case = Case((64, 16, 32, 32), DARTS * 4, BF16)
    data, first, second = launches(case, given := inputs(case), out := outputs(case))
    assert data.kernel.name == "edge_group_bwd<bf16, 16, 4, 1, 27, 8, 32, 16>" and data.grid == (256, 1, 1)
    branches, n, x, coef, gate, add, dx, height, width = data.arguments
    assert (n.value, height.value, width.value, gate.value) == (16, 32, 32, None)
    assert [x.value, add.value, dx.value] == [y.data_ptr() for y in (given["x"][0], given["add"][0], out["dx"][0])]
    assert coef.value == given["coef"][0].data_ptr() and list(branches.shape)[:16] == [0, 1, 3, 4] * 4
    assert branches.g[15] == branches.g[0] == given["g"][0].data_ptr() and branches.z[1] == given["z"][0][1].data_ptr()
    assert first.kernel.name == "edge_group_bwd_weights<bf16, 16, 4, 1, 27, 8, 16, 16>" and first.grid == (33, 1, 16)
    assert first.holds[0].shape == second.holds[0].shape == (16, 33, 25 * 16 + 16 * 16)
    assert second.kernel.name == "edge_group_bwd_weights_finish<16, 27>" and second.grid == (3, 16, 1)


def test_without_weights_only_the_data_gradient_runs() -> None:
    for case, wanted in ((FEW[2], 1), (replace(FEW[7], weights=False), 2)):
        assert len(launches(case, inputs(case), outputs(case))) == wanted


@pytest.mark.parametrize("channels", [64, 512])
def test_the_room_between_two_passes_is_bounded(channels: int) -> None:
    with torch.device("meta"):
        case = Case((64, channels, 32, 32), DARTS * 4, BF16)
        dw, pw = torch.empty((channels, 1, 5, 5)), torch.empty((channels, channels, 1, 1))
        x = torch.empty(case.shape, dtype=BF16)
        many, coef = ([dw] * 16, [pw] * 16), torch.empty(16, 3, channels)
        z = torch.empty((16, *case.out), dtype=BF16).movedim(-1, -3)
        upstream = Upstream([x] * 16, z, coef)
        run = edge_group_bwd_launches(x, Branches(*many, [1] * 16), 1, upstream, None, x, *many)
    assert run[-1].holds[0].nbytes <= 32 << 20


@pytest.mark.parametrize("case", [FEW[3], FEW[8]], ids=str)
def test_an_empty_batch_gives_zeros(emulator: Emulator, case: Case) -> None:
    _, out = run(emulator, replace(case, shape=(0, *case.shape[1:])))
    for name in out:
        assert all(not x.any() or name == "coef1" for x in out[name])


@pytest.mark.parametrize("case", [FEW[3], FEW[8]], ids=str)
def test_larger_calls_are_cut(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    assert module._parts(MOST_BRANCHES + 1) == [slice(0, MOST_BRANCHES), slice(MOST_BRANCHES, 2 * MOST_BRANCHES)]
    monkeypatch.setattr(module, "_parts", lambda n: [slice(0, 2), slice(2, n)])
    check_emulated(emulator, replace(case, filters=PAIR * 2, gate=(0.0, 1.0, 2.0, 0.0)), ORDERS[:1])


@needs_gpu
@pytest.mark.parametrize("case", [*FEW, *MANY, *USUAL, *MORE], ids=str)
def test_on_a_gpu_the_operators_equal_float64_and_bits_repeat(case: Case) -> None:
    def moved(x: object) -> object:
        return [y.cuda() for y in x] if isinstance(x, list) else x.cuda() if isinstance(x, Tensor) else x

    function, names = (sep_second_bwd, SECOND) if case.second else (edge_group_bwd, EDGE)
    given = inputs(case)
    there = [list(x) if isinstance(x, tuple) else moved(x) for x in arguments(case, given)]
    found = [function(*there) for _ in range(2)]  # type: ignore[operator]
    out, again = ({n: x if isinstance(x, list) else [x] for n, x in zip(names, y, strict=True)} for y in found)
    for name in names:
        for x, y in zip(out[name], again[name], strict=True):
            open_ = [True] * len(x) if case.gate is None or name != "d1" else [on != 0 for on in case.gate]
            assert torch.equal(x[open_], y[open_]) if name == "d1" else torch.equal(x, y), name
    if case.second and case.gate is not None:
        for i, on in enumerate(case.gate):
            if on == 0:
                out["d1"][0][i] = torch.nan  # any value may stand there
    check_values(case, given, {name: [x.cpu() for x in group] for name, group in out.items()})
