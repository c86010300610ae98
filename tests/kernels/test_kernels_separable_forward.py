"""The forward kernels of separable convolutions, emulated, against float64; their registers; their launches."""
# B batch, C channels, H height, W width, n branches, k size of a filter

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.cuda_kernels.code_cache import CodeCache
from supernet.cuda_kernels.gpu.compile import compile_kernel
from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.gpu.launch import Launch
from supernet.cuda_kernels.separable import forward as module
from supernet.cuda_kernels.separable.branches import Branches, Outputs
from supernet.cuda_kernels.separable.forward import (
    MOST_BRANCHES,
    SHARED,
    edge_group_launches,
    form_of,
    sep_second_launches,
    shared_bytes,
    tile_for,
)
from supernet.errors import SupernetError
from tests.support.emulation import ORDERS, Emulator
from tests.support.kernel_checks import ARCHITECTURES, Run, caught_barriers, code_cache

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
BF16 = torch.bfloat16
EPS = 1e-5
MARGIN = 64  # poisoned elements on both sides of every tensor that a kernel sees
NAMES = ("z", "mean", "var", "rstd")


@dataclass(frozen=True)
class Case:
    """`filters` are (size, dilation) of each branch; `second` is sep_second, of inputs of their own and with a norm."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    filters: tuple[tuple[int, int], ...]
    dtype: torch.dtype = torch.float32
    stride: int = 1
    second: bool = False
    offset: int = 0  # moves the data off the alignment that wide accesses need
    gate: tuple[float, ...] | None = None

    def __str__(self) -> str:
        forms = "".join(f"{size}{'' if dilation == 1 else 'd'}" for size, dilation in self.filters)
        which = "second" if self.second else "first"
        return f"{which}-{self.shape}-{forms}-{str(self.dtype)[6:]}-{self.stride}-{self.offset}"


DARTS = ((3, 1), (5, 1), (3, 2), (5, 2))
PAIR = ((3, 1), (5, 1))
FEW = [
    Case((1, 16, 17, 18), DARTS, BF16),  # more than one tile each way
    Case((2, 5, 3, 4), DARTS, BF16, stride=2),  # C odd: single accesses
    Case((2, 16, 9, 6), DARTS, stride=2),
    Case((1, 1, 1, 1), PAIR),
    Case((2, 64, 5, 4), PAIR, BF16, second=True),
    Case((1, 36, 6, 5), PAIR, BF16, second=True),
    Case((2, 18, 5, 5), PAIR, BF16, second=True),  # pairs only
    Case((3, 17, 4, 3), PAIR, second=True),
    Case((1, 40, 3, 3), ((7, 1), (7, 2)), offset=1),  # channels in several turns
    Case((2, 16, 5, 5), (*DARTS, (3, 1)), BF16, gate=(1.0, 0.0, 0.5, 1.0, 0.0)),
    Case((2, 16, 5, 5), PAIR, BF16, second=True, gate=(0.0, 1.0)),
]
TURNS = [Case((1, 20, 19, 9), PAIR, BF16, second=second) for second in (False, True)]
MANY = [
    Case((2, 32, 16, 16), DARTS, BF16),
    Case((2, 64, 8, 8), DARTS * 2, BF16),
    Case((1, 16, 32, 32), PAIR, BF16, second=True),
    Case((1, 16, 33, 15), DARTS),
    Case((1, 72, 7, 7), DARTS, BF16, stride=2),
    Case((1, 136, 3, 3), PAIR, second=True),
    Case((3, 12, 7, 9), ((7, 2), (3, 2)), stride=2),
    Case((2, 8, 14, 14), ((7, 1),), BF16, offset=4),
]  # fmt: skip


def inputs(case: Case) -> dict[str, list[Tensor]]:
    """`x` (one, or one a branch), `norm` = mean, scale, shift, `dw`, `pw`, `gate` (or none)."""
    draw = torch.Generator().manual_seed(1)
    b, c, h, w = case.shape
    n = len(case.filters)
    x = [padded(case, torch.randn((b, h, w, c), generator=draw).to(case.dtype)) for _ in range(n if case.second else 1)]
    norm = [torch.randn((n, c), generator=draw) * 0.3, torch.rand((n, c), generator=draw) + 0.5]
    norm.append(torch.randn((n, c), generator=draw))
    dw = [torch.randn((c, 1, size, size), generator=draw) / size for size, _ in case.filters]
    pw = [torch.randn((c, c, 1, 1), generator=draw) / c**0.5 for _ in range(n)]
    return {"x": x, "norm": norm, "dw": dw, "pw": pw, "gate": [] if case.gate is None else [torch.tensor(case.gate)]}


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


def outputs(case: Case) -> dict[str, Tensor]:
    """Poisoned room for z [n, B, C, H', W'] and mean, var, rstd [n, C]."""
    b, c, h, w = case.shape
    n, h, w = len(case.filters), -(-h // case.stride), -(-w // case.stride)
    flat = padded(case, torch.full((n * b, h, w, c), torch.nan, dtype=case.dtype))
    out = {"z": flat.permute(0, 2, 3, 1).view(n, b, h, w, c).permute(0, 1, 4, 2, 3)}
    for name in NAMES[1:]:
        out[name] = padded(case, torch.full((1, 1, n, c), torch.nan)).permute(0, 2, 3, 1).view(n, c)
    return out


def launches(case: Case, given: dict[str, list[Tensor]], out: dict[str, Tensor]) -> list[Launch]:
    gate = given["gate"][0] if given["gate"] else None
    branches = Branches(given["dw"], given["pw"], [d for _, d in case.filters], gate)
    if case.second:
        return sep_second_launches(given["x"], given["norm"], branches, EPS, Outputs(**out))
    return edge_group_launches(given["x"][0], branches, case.stride, EPS, Outputs(**out))


def expected(case: Case, given: dict[str, list[Tensor]], dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    """z, mean, var, rstd of each branch by stock operations on `dtype` throughout; statistics of bf16 in float32."""
    found: list[tuple[Tensor, ...]] = []
    for i, (size, dilation) in enumerate(case.filters):
        x, dw, pw = (y.to(dtype) for y in (given["x"][i if case.second else 0], given["dw"][i], given["pw"][i]))
        if case.second:
            wide = x.to(torch.promote_types(dtype, torch.float32))
            mean, scale, shift = (y[i].to(wide.dtype).view(-1, 1, 1) for y in given["norm"])
            x = ((wide - mean) * scale + shift).to(dtype)
        filtered = F.conv2d(F.relu(x), dw, None, case.stride, dilation * (size // 2), dilation, x.shape[1])
        z = F.conv2d(filtered, pw)
        var, mean = torch.var_mean(z.to(torch.promote_types(dtype, torch.float32)), (0, 2, 3), correction=0)
        found.append((z, mean, var, (var + EPS).rsqrt()))
    return found


def error(x: Tensor, exact: Tensor) -> float:
    """||x - exact|| / ||exact||."""
    return float((x.double() - exact).norm() / exact.norm().clamp_min(1e-30))


def check_values(case: Case, given: dict[str, list[Tensor]], out: dict[str, Tensor], closed: bool = True) -> None:
    """Against float64, with the error of eager PyTorch in the case's type; a closed branch is as it was."""
    exact, usual = expected(case, given, torch.float64), expected(case, given, case.dtype)
    for i in range(len(case.filters)):
        for name, there, plain in zip(NAMES, exact[i], usual[i], strict=True):
            if case.gate is not None and case.gate[i] == 0:
                assert not closed or out[name][i].isnan().all(), name
            else:
                found, bound = error(out[name][i], there), 2 * error(plain, there) + 1e-6
                assert found <= bound, f"{name}[{i}]: {found} > {bound}"


def poisoned(run: list[Launch]) -> list[Launch]:
    """`run` with NaN in its scratch room."""
    for one in run:
        one.holds[0].fill_(torch.nan)
    return run


def run(emulator: Emulator, case: Case, order: int = 0) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Inputs and outputs of `case`; wide accesses stay within activations and partial sums."""
    given, out = inputs(case), outputs(case)
    for one in poisoned(launches(case, given, out)):
        emulator.run(one, order, tensors=[*given["x"], out["z"]])
    return given, out


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    cases = [*FEW, *TURNS]
    return Emulator([one.kernel for case in cases for one in launches(case, inputs(case), outputs(case))])


def check_emulated(emulator: Emulator, case: Case, orders: Sequence[int]) -> None:
    """Equals float64 as eager PyTorch does, the same bits in every order, nothing written beside the outputs."""
    first: dict[str, Tensor] = {}
    for order in orders:
        given, out = run(emulator, case, order)
        assert all(map(untouched_around, out.values()))
        if not first:
            check_values(case, given, out)
        for name, x in out.items():
            assert torch.equal(x.nan_to_num(7), first.setdefault(name, x.nan_to_num(7))), (
                f"{name}: order {order} differs"
            )


@pytest.mark.parametrize("case", FEW, ids=str)
def test_the_kernels_equal_float64_in_every_order_of_threads(emulator: Emulator, case: Case) -> None:
    check_emulated(emulator, case, ORDERS)


@pytest.mark.parametrize("case", [FEW[0], replace(FEW[4], shape=(5, 64, 5, 4))], ids=str)
def test_the_number_of_blocks_changes_no_bit(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """A block then takes several tiles, one after another."""
    _, usual = run(emulator, case)
    monkeypatch.setattr(module, "BLOCKS", 1)
    first = launches(case, inputs(case), outputs(case))[0]
    assert first.grid[0] == 1 < first.arguments[-3 if not case.second else -1][6]
    for order in (0, 3):
        _, found = run(emulator, case, order)
        assert all(torch.equal(x, usual[name]) for name, x in found.items())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_kernels_equal_float64_for_many_shapes() -> None:
    kernels = [one.kernel for case in MANY for one in launches(case, inputs(case), outputs(case))]
    emulator = Emulator(kernels)
    for case in MANY:
        check_emulated(emulator, case, ORDERS[:2])


@pytest.mark.parametrize("case", TURNS, ids=["edge_group", "sep_second"])
def test_every_barrier_of_the_kernels_is_needed_and_missed(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """Each barrier left out in turn: some order of the threads then gives other values."""
    monkeypatch.setattr(module, "BLOCKS", 1)  # every block takes several tiles

    def prepare() -> Run:
        given, out = inputs(case), outputs(case)
        return launches(case, given, out), out, given

    run, out, _inputs = prepare()
    for one in poisoned(run):
        emulator.run(one)
    assert all(x.isfinite().all() for x in out.values())
    sources = [run[0].kernel.source, "separable/forward.cuh", "separable/tile.cuh"]
    assert caught_barriers(emulator, prepare, sources) == [False] + [True] * (5 + case.second)


def test_a_large_mean_costs_the_variance_no_digits(emulator: Emulator) -> None:
    """Means a hundred times the deviation: squares less the squared mean would lose four digits of seven."""
    case = FEW[2]
    given, out = inputs(case), outputs(case)
    given["x"][0].add_(100)
    for dw, pw in zip(given["dw"], given["pw"], strict=True):
        middle = dw.shape[-1] // 2
        dw.zero_()[:, :, middle, middle] = 1  # nothing of the border's zeros
        pw.abs_()
    for one in launches(case, given, out):
        emulator.run(one)
    check_values(case, given, out)
    assert float((out["mean"].square() / out["var"]).min()) > 1e4
    for i, (_, _, var, _) in enumerate(expected(case, given, torch.float64)):
        assert error(out["var"][i], var) < 1e-5


@pytest.mark.parametrize("case", [FEW[0], FEW[3], FEW[4]], ids=str)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_come_through_as_in_pytorch(emulator: Emulator, case: Case, poison: float) -> None:
    """In the input, in a norm's scale, in the pointwise weights: NaN and infinities of one sign at the same places."""
    for where in ("x", "scale", "pw") if case.second else ("x", "pw"):
        given, out = inputs(case), outputs(case)
        c = case.shape[1] // 2
        if where == "x":
            given["x"][0][0, c, 0, 0] = poison
        elif where == "scale":
            given["norm"][1][1, c] = poison
        else:
            given["pw"][0][c, 0] = poison
        for one in launches(case, given, out):
            emulator.run(one)
        for i, there in enumerate(expected(case, given, torch.float32)):
            for name, y in zip(NAMES, there, strict=True):
                for kind in (torch.isnan, torch.isposinf, torch.isneginf):
                    assert torch.equal(kind(out[name][i]), kind(y.reshape(out[name][i].shape))), (where, name, i)


# Of a thread: with 256 threads a block and 65,536 registers, 80 let three blocks stand on a multiprocessor.
CEILINGS = {"edge_group_fwd": 80, "edge_group_fwd_finish": 40, "sep_second_fwd": 80, "sep_second_fwd_finish": 40}
USUAL = [Case((64, c, 512 // c, 512 // c), DARTS * 4, BF16) for c in (16, 32, 64)]
USUAL += [Case((64, 64, 8, 8), PAIR * 4, BF16, second=True)]
MORE = [replace(case, shape=(64, c, 512 // c, 512 // c), dtype=dtype, stride=1 + (not case.second and second))
        for case in (USUAL[0], USUAL[3]) for c in (16, 32, 64) for dtype in (BF16, torch.float32)
        for second in (False, True)]  # fmt: skip
WIDE = [Case((2, c, 9, 9), filters, dtype, second=second) for c in (5, 17, 136)
        for filters, second in ((DARTS, False), (((7, 1), (7, 2)), False), ((*PAIR, (7, 1)), True))
        for dtype in (BF16, torch.float32)]  # fmt: skip


@pytest.fixture
def cache() -> CodeCache:
    return code_cache()


def kernels_of(cases: Sequence[Case]) -> list[Kernel]:
    """Compiled once where cases share them; built on the meta device, which holds no data."""
    found = []
    for case in cases:
        x, *_ = given = [torch.empty(case.shape, dtype=case.dtype, device="meta")] * len(case.filters)
        room = (len(case.filters), *case.shape[:1], *(-(-s // case.stride) for s in case.shape[2:]), case.shape[1])
        z = x.new_empty(room).permute(0, 1, 4, 2, 3)
        small = [torch.empty(len(case.filters), case.shape[1], device="meta")] * 3
        dw = [torch.empty((case.shape[1], 1, size, size), device="meta") for size, _ in case.filters]
        branches, out = Branches(dw, dw, [d for _, d in case.filters]), Outputs(z, *small)
        if case.second:
            run = sep_second_launches(given, small, branches, EPS, out)
        else:
            run = edge_group_launches(x, branches, case.stride, EPS, out)
        found += [one.kernel for one in run]
    return list(dict.fromkeys(found))


def hold_the_ceilings(kernel: Kernel, architecture: str, cache: CodeCache, above: int = 0) -> None:
    code = compile_kernel(kernel, architecture, cache)
    assert (code.spilled, code.stack) == (0, 0), f"{kernel.name} on {architecture} spills"
    assert code.registers <= CEILINGS[kernel.name.partition("<")[0]] + above, f"{kernel.name} on {architecture}"
    assert code.shared <= SHARED


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for kernel in kernels_of(USUAL):
        hold_the_ceilings(kernel, architecture, cache)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_forms_compile_within_their_registers(architecture: str, cache: CodeCache) -> None:
    for kernel in kernels_of([*MORE, *WIDE]):
        hold_the_ceilings(kernel, architecture, cache, above=48)  # two blocks


@pytest.mark.parametrize("case", [*USUAL, *WIDE[::3]], ids=str)
def test_a_block_takes_the_shared_memory_that_was_counted(case: Case, cache: CodeCache) -> None:
    forms = [form_of(torch.empty(1, 1, size, size), dilation) for size, dilation in case.filters]
    size = case.dtype.itemsize
    tile = tile_for(case.shape[1], size, *case.shape[2:], case.stride, forms, case.second)
    norm = -(-case.shape[1] // tile.channels) if case.second else 0
    counted = shared_bytes(tile, size, max(size for size, _ in case.filters), norm)
    assert compile_kernel(kernels_of([case])[0], "sm_90", cache).shared == counted <= SHARED


def test_every_form_has_a_tile() -> None:
    for channels in (1, 5, 16, 17, 40, 64, 136, 512):
        for size, stride, form in ((size, stride, form) for size in (2, 4) for stride in (1, 2) for form in range(6)):
            for image in (1, 7, 32, 224):
                tile_for(channels, size, image, image, stride, [form])
                tile_for(channels, size, image, image, 1, [form], normed=True)


def test_what_is_launched() -> None:
    case = Case((64, 16, 32, 32), DARTS * 4, BF16)
    first, second = launches(case, given := inputs(case), out := outputs(case))
    assert first.kernel.name == "edge_group_fwd<bf16, 16, 8, 16, 16, 16, 1, 4, 15, 16>" and first.grid == (256, 4, 1)
    x, dw, pw, form, gate, z, partial, sizes, branches, together = first.arguments
    assert x.value == given["x"][0].data_ptr() and z.value == out["z"].data_ptr() and gate.value is None
    assert list(dw) == [w.data_ptr() for w in given["dw"]] and list(pw) == [w.data_ptr() for w in given["pw"]]
    assert list(form) == [0, 2, 1, 3] * 4 and list(sizes) == [32, 32, 32, 32, 2, 2, 256, 64]
    assert (branches.value, together.value) == (16, 4)
    assert first.holds[0].data_ptr() == partial.value == second.arguments[0].value and first.holds[0].shape == (
        16,
        256,
        2,
        16,
    )
    assert second.kernel.name == "edge_group_fwd_finish<16, 16, 16>" and second.grid == (2, 16, 1)


def test_larger_calls_are_cut() -> None:
    case = Case((1, 4, 3, 3), PAIR * 35, gate=(1.0,) * 70)
    run = launches(case, given := inputs(case), out := outputs(case))
    assert [one.grid[1] for one in run] == [16, MOST_BRANCHES, 2, 70 - MOST_BRANCHES]
    assert run[2].arguments[4].value == given["gate"][0][MOST_BRANCHES:].data_ptr()
    assert run[2].arguments[5].value == out["z"][MOST_BRANCHES:].data_ptr()
    assert run[3].arguments[4].value == out["mean"][MOST_BRANCHES:].data_ptr()


def test_what_has_no_kernel_is_refused_by_name() -> None:
    with pytest.raises(SupernetError, match="size 9, dilation 1: sizes 3, 5, 7"):
        form_of(torch.empty(1, 1, 9, 9), 1)
    with pytest.raises(SupernetError, match="no tile for 16384 channels"):
        tile_for(16384, 2, 4, 4, 1, [0], normed=True)


@needs_gpu
@pytest.mark.parametrize("case", [*FEW, *MANY, *(replace(case, gate=None) for case in USUAL)], ids=str)
def test_on_a_gpu_the_operators_equal_float64_and_bits_repeat(case: Case) -> None:
    from supernet.cuda_kernels.separable.edge_group import edge_group
    from supernet.cuda_kernels.separable.sep_second import sep_second

    given = {name: [x.cuda() for x in values] for name, values in inputs(case).items()}
    gate = given["gate"][0] if given["gate"] else None

    def values() -> dict[str, Tensor]:
        if case.second:
            found = sep_second(given["x"], *given["norm"], given["dw"], given["pw"], EPS, gate)
        else:
            dilation = [d for _, d in case.filters]
            found = edge_group(given["x"][0], given["dw"], given["pw"], dilation, case.stride, EPS, gate)
        return dict(zip(NAMES, found, strict=True))

    first = values()
    for name, x in values().items():
        for i in range(len(case.filters)):
            assert (case.gate is not None and case.gate[i] == 0) or torch.equal(x[i], first[name][i])
    check_values(case, given, first, closed=False)
