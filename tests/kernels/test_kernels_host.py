"""The compiled CPU bodies against the references in float64."""
# B batch, C channels, H height, W width, n branches or terms

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from supernet.cuda_kernels import host
from supernet.cuda_kernels.node_mix import cpu as node_cpu
from supernet.cuda_kernels.node_mix import mix, shuffled
from supernet.cuda_kernels.pool_pair import pair as pool
from supernet.cuda_kernels.separable import edge_group as edge
from supernet.cuda_kernels.separable import sep_second as second

EPS = 1e-5
Body = Callable[..., Any]


@pytest.fixture
def bodies() -> None:
    """Skips where this machine cannot compile them."""
    if said := host.why_not():
        pytest.skip(said)


@dataclass(frozen=True)
class Case:
    """One shape and the branches on it: (k, dilation) each, and which of them run."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    branches: tuple[tuple[int, int], ...] = ((3, 1), (5, 2), (7, 1))
    stride: int = 1
    gate: tuple[float, ...] | None = None


CASES = [
    Case((2, 16, 8, 8)),
    Case((1, 1, 1, 1)),
    Case((1, 1, 1, 1), stride=2),
    Case((3, 5, 7, 9), ((3, 2), (5, 1), (7, 2))),
    Case((3, 5, 9, 7), ((3, 2), (5, 1), (7, 2)), stride=2),
    Case((2, 17, 4, 11), gate=(1, 0, 1)),
    Case((2, 36, 5, 6), stride=2, gate=(0, 0, 2.5)),
    Case((2, 64, 8, 8), ((3, 1), (5, 1), (3, 1), (5, 1), (3, 2))),  # over four branches: two pieces share no input
    Case((1, 4, 50, 41), ((5, 2),)),
    Case((1, 16, 70, 66), ((3, 2),)),  # several bands of rows for one image
    Case((1, 16, 71, 66), ((3, 2),), stride=2),
    Case((40, 3, 3, 2), ((3, 1), (5, 1))),  # several images for each set of partial sums
    Case((2, 16, 6, 6), gate=(0, 0, 0)),
]


def image(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


def stack(n: int, b: int, c: int, h: int, w: int) -> Tensor:
    return torch.randn(n, b, h, w, c).permute(0, 1, 4, 2, 3)


def weights(case: Case) -> tuple[list[Tensor], list[Tensor], list[int]]:
    c = case.shape[1]
    dw = [torch.randn(c, 1, k, k) / k for k, _ in case.branches]
    return dw, [torch.randn(c, c, 1, 1) / c**0.5 for _ in case.branches], [d for _, d in case.branches]


def arguments(case: Case, constants: bool = True) -> dict[str, tuple[Any, ...]]:
    """What each operator is called with; a second convolution and a node have stride 1.

    With `constants` the statistics of the first branch are.
    """
    (b, c, h, w), n = case.shape, len(case.branches)
    out = b, c, -(-h // case.stride), -(-w // case.stride)
    gate = None if case.gate is None else torch.tensor(case.gate, dtype=torch.float32)
    dw, pw, dilation = weights(case)
    x, z, coef = image(*case.shape), stack(n, *out), torch.randn(n, 3, c)
    shared = image(*out)
    g = [shared if i % 2 else image(*out) for i in range(n)]
    mean, scale, shift, rstd = (torch.randn(n, c) * f + a for f, a in ((3, 1), (1, 0), (1, 0), (0.2, 1)))
    if constants:
        rstd[0] = 0  # as in evaluation
    calls: dict[str, tuple[Any, ...]] = {
        "edge_group": (x, dw, pw, dilation, case.stride, EPS, gate),
        "edge_group_bwd": (x, dw, pw, dilation, case.stride, g, z, coef, image(*case.shape), True, gate),
        "edge_group_bwd plain": (x, dw, pw, dilation, case.stride, g, z, coef, None, False, gate),
        "pool_pair": (x, case.stride, EPS),
        "pool_pair_bwd": (
            x,
            stack(2, *out),
            g,
            torch.randn(3, n, c),
            torch.randn(2, c),
            torch.randn(2, c),
            case.stride,
        ),
    }
    if case.stride == 1:
        z1, p, small = [image(*case.shape) + 1 for _ in range(n)], torch.randn(n), (mean, scale, shift)
        bypass = [image(b, 3 * c, h, w) for _ in range(2)]
        calls |= {
            "sep_second": (z1, *small, dw, pw, EPS, gate),
            "sep_second_bwd": (z1, *small, rstd, dw, pw, g, z, coef, True, gate),
            "sep_second_bwd plain": (z1, *small, rstd, dw, pw, g, z, coef, False, gate),
            "node_mix": (z1, *small, p, gate),
            "node_mix_bwd_reduce": (g[0], z1, *small, rstd, p, gate),
            "node_mix_shuffled": (z1, *small, p, bypass, torch.randn(2), 3),
        }
    return calls


OPERATORS: dict[str, Body] = {
    "edge_group": edge.edge_group,
    "edge_group_bwd": edge.edge_group_bwd,
    "sep_second": second.sep_second,
    "sep_second_bwd": second.sep_second_bwd,
    "pool_pair": pool.pool_pair,
    "pool_pair_bwd": pool.pool_pair_bwd,
    "node_mix": mix.node_mix,
    "node_mix_bwd_reduce": mix.node_mix_bwd_reduce,
    "node_mix_shuffled": shuffled.node_mix_shuffled,
}
REFERENCES: dict[str, Body] = {
    "edge_group": edge.edge_group_reference,
    "edge_group_bwd": edge.edge_group_bwd_reference,
    "sep_second": second.sep_second_reference,
    "sep_second_bwd": second.sep_second_bwd_reference,
    "pool_pair": pool.pool_pair_reference,
    "pool_pair_bwd": pool.pool_pair_bwd_reference,
    "node_mix": mix.node_mix_reference,
    "node_mix_bwd_reduce": mix.node_mix_reference_sums,
    "node_mix_shuffled": shuffled.node_mix_shuffled_reference,
}


def compiled(name: str) -> Body:
    """The operator `name` with its compiled body."""

    def body(*call: Any) -> Any:
        with host.compiled():
            return OPERATORS[name](*call)

    return body


def flat(found: Any, gate: Tensor | None = None) -> list[Tensor]:
    """All tensors; of stacked ones, which hold anything where a branch does not run, those that do."""
    if isinstance(found, Tensor):
        return [found[gate != 0] if gate is not None and found.dim() == 5 else found]
    return [x for part in found for x in flat(part, gate)]


def double(call: Any) -> Any:
    if isinstance(call, Tensor):
        return call.double()
    return [double(x) for x in call] if isinstance(call, list | tuple) else call


def error(x: Tensor, exact: Tensor) -> float:
    return float((x - exact).norm() / exact.norm().clamp_min(1e-300)) if x.numel() else 0.0


def results(name: str, call: Any, case: Case, body: Body | None = None) -> list[Tensor]:
    gated = case.gate is not None and not name.startswith("pool")
    return flat((body or compiled(name.split()[0]))(*call), torch.tensor(case.gate) if gated else None)


def agree(case: Case) -> None:
    for name, call in arguments(case).items():
        reference = REFERENCES[name.split()[0]]
        mine = results(name, call, case)
        stock = results(name, call, case, reference)
        exact = results(name, double(call), case, reference)
        for i, (x, y, z) in enumerate(zip(mine, stock, exact, strict=True)):
            assert x.shape == z.shape and x.dtype == torch.float32, (name, i)
            assert error(x, z) <= 2 * error(y, z) + 1e-6, (name, i, error(x, z), error(y, z))


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bodies_equal_the_references(case: Case) -> None:
    agree(case)


@pytest.mark.usefixtures("bodies")
@settings(max_examples=25)
@given(data=st.data())
def test_bodies_equal_the_references_at_any_shape(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, most)) for most in (3, 40, 9, 12))
    branches = data.draw(
        st.lists(st.tuples(st.sampled_from((3, 5, 7)), st.sampled_from((1, 2))), min_size=1, max_size=3)
    )
    gate = data.draw(st.none() | st.tuples(*[st.sampled_from((0.0, 1.0))] * len(branches)))
    agree(Case(shape, tuple(branches), data.draw(st.sampled_from((1, 2))), gate))


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("case", [CASES[i] for i in (4, 7, 9, 10, 11)], ids=str)
def test_the_bits_depend_neither_on_threads_nor_on_the_run(case: Case) -> None:
    for name, call in arguments(case).items():
        first = results(name, call, case)
        for number in (1, 2, 3):
            with threads(number):
                assert all(map(torch.equal, first, results(name, call, case))), (name, number)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Tensors without values hold NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("bodies", "poisoned")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_do_not_depend_on_what_was_in_memory(case: Case) -> None:
    assert torch.empty(3).isnan().all()
    calls = arguments(case)
    clean = {name: results(name, call, case) for name, call in calls.items()}
    assert all(x.isfinite().all() for found in clean.values() for x in found)
    for name, call in calls.items():
        results(name, spoilt(call), case)  # NaN into what the bodies keep between calls
        assert all(map(torch.equal, clean[name], results(name, call, case))), name


def spoilt(call: Any) -> Any:
    """`call` with NaN for every activation."""
    if isinstance(call, Tensor):
        return torch.full_like(call, torch.nan) if call.dim() > 3 else call
    return [spoilt(x) for x in call] if isinstance(call, list | tuple) else call


@pytest.mark.usefixtures("bodies")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("case", [Case((2, 5, 7, 6)), Case((2, 16, 9, 8), stride=2)], ids=str)
def test_nan_and_infinity_come_through(case: Case, value: float) -> None:
    for name, call in arguments(case, constants=False).items():
        for at in range(2):  # into one of the first two activations of the call
            marked = with_one(call, value, at)
            mine, stock = results(name, marked, case), results(name, marked, case, REFERENCES[name.split()[0]])
            for i, (x, y) in enumerate(zip(mine, stock, strict=True)):
                assert torch.equal(x.isfinite(), y.isfinite()), (name, at, i)
                if x.dim() > 3:  # of sums over pixels infinity leaves one or the other, by the order of adding
                    assert torch.equal(x.isnan(), y.isnan()) and torch.equal(x.isposinf(), y.isposinf()), (name, at, i)


def with_one(call: Any, value: float, at: int) -> Any:
    """`call` with one value of its activation number `at` replaced."""
    count = -1

    def walk(x: Any) -> Any:
        nonlocal count
        if isinstance(x, Tensor) and x.dim() == 4 and x.shape[2] > 1 and x.shape[1] > 1:
            count += 1
            if count == at:
                x = x.clone()
                x[1, 2, 3, 4 % x.shape[3]] = value
            return x
        return [walk(y) for y in x] if isinstance(x, list | tuple) else x

    return walk(call)


@pytest.mark.usefixtures("bodies")
def test_of_equal_maxima_the_first_takes_the_gradient_and_of_several_nan_the_last() -> None:
    x = torch.zeros(1, 20, 5, 5)
    x[0, 3, 1, 1] = x[0, 3, 2, 2] = torch.nan
    x[0, 4] = -torch.inf
    for stride in (1, 2):
        out = -(-5 // stride)
        call = (
            x,
            stack(2, 1, 20, out, out),
            [image(1, 20, out, out)],
            torch.randn(3, 1, 20),
            *torch.zeros(2, 2, 20),
            stride,
        )
        mine, stock = compiled("pool_pair_bwd")(*call), pool.pool_pair_bwd_reference(*call)
        torch.testing.assert_close(mine, stock, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("bodies")
def test_the_variance_of_large_means_keeps_its_digits() -> None:
    case = Case((4, 16, 8, 8), ((3, 1),))
    x, dw, pw = image(*case.shape) * 1e-3 + 100, [torch.zeros(16, 1, 3, 3)], [torch.eye(16).view(16, 16, 1, 1)]
    dw[0][:, :, 1, 1] = 1
    call = x, dw, pw, [1], 1, EPS
    for body, reference, taken in (
        (compiled("edge_group"), edge.edge_group_reference, call),
        (compiled("pool_pair"), pool.pool_pair_reference, (x, 1, EPS)),
    ):
        mine, stock, exact = (f(*g)[2] for f, g in ((body, taken), (reference, taken), (reference, double(taken))))
        assert error(mine, exact) <= 2 * error(stock, exact) + 1e-6


@pytest.mark.usefixtures("bodies")
def test_operators_take_them_where_they_are_switched_on() -> None:
    x = image(1, 4, 3, 3)
    assert not host.serves(x)
    with host.compiled():
        assert host.serves(x) and not host.serves(x.double()) and not host.serves(x.bfloat16())
        inside = mix.node_mix([x], *torch.ones(3, 1, 4), torch.ones(1))
        with host.compiled(False):
            assert not host.serves(x)
        assert host.serves(x)
    assert not host.serves(x)
    assert torch.equal(inside, node_cpu.node_mix([x], *torch.ones(3, 1, 4), torch.ones(1)))
