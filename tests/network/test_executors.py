"""Executors: one contract for all that are registered, with the plain loop of `reference` in float64 as the oracle."""
# B batch, C channels, H height, W width, E edges, O operations

import copy
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.cuda_kernels import host
from supernet.errors import SupernetError
from supernet.network import EXECUTORS, make_executor
from supernet.network.cells.cell import CellPlan, MixedCell
from supernet.network.executor.stock import weighted_sum
from supernet.space import CellSpace, get_space
from supernet.space.zoo.nasnet import NasnetCells
from tests.support.covering import covering

Mask = list[list[bool]]
HERE = [name for name in EXECUTORS if name != "cuda"]  # that serve tensors on the processor
OTHERS = [name for name in HERE if name != "reference"]


@dataclass
class Case:
    """A mixed cell with states that enter it, alphas and a mask."""

    cell: MixedCell
    x: list[Tensor]
    alpha: Tensor
    mask: Mask


# Kind of case -> its space. S1 offers other operations on each edge, S4 noise, and NASNet takes a state twice.
KINDS = {"normal": "darts", "reduction": "darts", "behind a reduction": "darts", "nasbench201": "nasbench201",
         "s1": "s1", "s1 reduction": "s1", "s4": "s4", "s4 reduction": "s4", "nasnet": "nasnet",
         "nasnet reduction": "nasnet"}  # fmt: skip


def cell_space(name: str) -> CellSpace:
    if name == "nasnet":  # the whole space has 40 edges of nine operations
        both = {"kinds": ["normal", "reduce"], "reductions": ["reduce"], "macro": "darts"}
        few = ["conv_7x1_1x7", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]
        return NasnetCells("small", {}, inputs=2, nodes=2, operations=few, **both)
    space = get_space(name, **({"nodes": 3} if name in ("darts", "s4") else {}))
    assert isinstance(space, CellSpace)
    return space


def random_mask(space: CellSpace, rng: random.Random, keep: float) -> Mask:
    """A random subset of (edge, operation) pairs, with one node whose terms are all masked."""
    (rows, columns) = space.tables[0].shape
    mask = [[rng.random() < keep for _ in range(columns)] for _ in range(rows)]
    if keep < 1:
        dead = rng.randrange(space.nodes)
        for edge in space.incoming(space.inputs + dead):
            mask[edge.row] = [False] * columns
    return mask


def case(kind: str, seed: int, keep: float = 1.0, size: tuple[int, int] | None = None) -> Case:
    """A cell of `kind` in float64 with random weights, statistics and shapes; even and odd sizes."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    space = cell_space(KINDS[kind])
    c, (height, width) = rng.choice([1, 2, 4]), size or (rng.randint(3, 8), rng.randint(3, 8))
    if kind == "nasbench201":
        plan, shapes = CellPlan("cell", (c,), c, preprocess=False), [(c, height, width)]
    else:
        twice = kind == "behind a reduction"
        reduction = kind.endswith("reduction") and not twice
        plan = CellPlan("reduce" if reduction else "normal", (3, 5), c, reduction, twice)
        shapes = [(3, 2 * height - 1 if twice else height, 2 * width if twice else width), (5, height, width)]
    cell = MixedCell(space, plan, affine=seed % 2 == 0, pool_bn=kind != "nasbench201").double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for name, buffer in cell.named_buffers():  # different on each edge, which a shared pooling must respect
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64) + 0.5)
    x = [torch.randn(3, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    table = next(table for table in space.tables if table.name == plan.kind)
    alpha = torch.randn(table.shape, generator=generator, dtype=torch.float64)
    alpha.masked_fill_(~torch.tensor(table.mask), float("-inf"))
    return Case(cell, x, alpha, random_mask(space, rng, keep))


def run(name: str, made: Case, training: bool = True, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Output, gradients of everything for a fixed cotangent, and the running statistics afterwards."""
    cell = copy.deepcopy(made.cell).to(dtype).train(training)
    x = [t.to(dtype).requires_grad_() for t in made.x]
    alpha = made.alpha.to(dtype).requires_grad_()
    torch.manual_seed(0)  # for noise, which all executors draw in the order of the table
    y = make_executor(name)(x, cell, torch.softmax(alpha, -1), made.mask)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    names = {"alpha": alpha, "x0": x[0], "x1": x[-1]} | dict(cell.named_parameters())
    grads = [None] * len(names)
    if y.requires_grad:
        grads = torch.autograd.grad(y, list(names.values()), cotangent, allow_unused=True)  # type: ignore[assignment]
    filled = {k: torch.zeros_like(t) if g is None else g for (k, t), g in zip(names.items(), grads, strict=True)}
    buffers = {f"buffer {k}": b.clone() for k, b in cell.named_buffers()}
    return {"output": y.detach()} | {f"d {k}": g for k, g in filled.items()} | buffers


@pytest.mark.parametrize(**covering(kind=KINDS, name=OTHERS, training=[True, False]))
def test_equals_the_reference(name: str, kind: str, training: bool) -> None:
    """Forward, d input, d weights, d alphas and running statistics to 1e-9; all paths and random subsets of them."""
    for seed, keep in enumerate((1.0, 0.7, 0.3, 0.0)):
        made = case(kind, seed, keep)
        expected, got = run("reference", made, training), run(name, made, training)
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            scale = max(1.0, value.abs().max().item())
            assert (got[key] - value).abs().max().item() <= 1e-9 * scale, f"{key} of {kind} with {seed=}"


@pytest.mark.parametrize("name", HERE)
def test_equals_sums_written_out(name: str) -> None:
    """Two edges by hand: node 1 = sum_o p[0,o] o(x), node 2 = sum_o p[1,o] o(x) + p[2,o] o(node 1), ..."""
    made = case("nasbench201", 3)
    p, cell = torch.softmax(made.alpha, -1), copy.deepcopy(made.cell)
    states = [made.x[0]]
    for rows in ([0], [1, 2], [3, 4, 5]):
        terms = [
            p[row, o] * cell.edges[row][o](states[source])  # type: ignore[index]
            for source, row in enumerate(rows)
            for o in range(5)
        ]
        states.append(torch.stack(terms).sum(0))
    torch.testing.assert_close(run(name, made)["output"], states[-1].detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind] != "s4"])  # another type, another noise
@pytest.mark.parametrize("name", OTHERS)
def test_float32_is_as_exact_as_the_reference(name: str, kind: str) -> None:
    """Errors against the oracle in float64: at most twice those of the reference in float32."""
    if name == "cpu" and not host.available():
        pytest.skip("no C++ compiler for the kernels' bodies")
    made = case(kind, 7, size=(6, 6))
    made.cell.float().double(), made.alpha.copy_(made.alpha.float())
    made.x = [x.float().double() for x in made.x]
    oracle = run("reference", made)
    plain, got = (run(n, made, dtype=torch.float32) for n in ("reference", name))
    for key in ("output", "d alpha", "d x0", "d x1"):
        scale = oracle[key].abs().max()
        bound, error = ((r[key].double() - oracle[key]).abs().max() / scale for r in (plain, got))
        assert error <= 2 * bound + 1e-6, key


@pytest.mark.parametrize("kind", ["s1", "s1 reduction"])
@pytest.mark.parametrize("name", HERE)
def test_what_an_edge_does_not_offer_has_no_gradient(name: str, kind: str) -> None:
    """Every alpha that exists has one, and only they, though the mask lets all through."""
    made = case(kind, 5)
    exists = made.alpha.isfinite()
    assert 0 < exists.sum() < exists.numel() and all(len(ops) == 2 for ops in made.cell.edges)
    assert torch.equal(run(name, made)["d alpha"] != 0, exists)


@pytest.mark.parametrize("name", OTHERS)
def test_pools_of_another_window_are_not_shared(name: str) -> None:
    """A candidate of one's own may be a pool too; only pools that compute the same may share their result."""
    made = case("nasbench201", 2, size=(6, 6))
    for pools in (
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(5, 1, 2, count_include_pad=False)),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(3, 1, 1)),
        (nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(5, 1, 2)),
    ):
        for column, pool in enumerate(pools):
            made.cell.edges[0][column] = pool  # type: ignore[index,operator]
        expected, got = run("reference", made), run(name, made)
        torch.testing.assert_close(got["output"], expected["output"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", HERE)
def test_nan_comes_through(name: str) -> None:
    """A diverged search must not look well: NaN in a state or in a mixing weight reaches the output."""
    made = case("normal", 0, size=(5, 5))
    made.x[1][0, 0, 2, 2] = float("nan")
    assert run(name, made)["output"].isnan().any()
    for column in (1, 3, 4, 7):
        made = case("normal", 0, size=(5, 5))
        made.alpha[0, column] = float("nan")
        assert run(name, made)["output"].isnan().any()
    made = case("nasbench201", 0, size=(5, 5))
    with torch.no_grad():  # weight zero does not hide a state that is NaN
        p = torch.zeros_like(made.alpha)
        made.x[0].fill_(float("nan"))
        assert make_executor(name)(made.x, made.cell, p, made.mask).isnan().any()


@pytest.mark.parametrize("kind", ["normal", "reduction"])
@pytest.mark.parametrize("name", [n for n in HERE if EXECUTORS[n]().double_backward])
def test_differentiable_twice(name: str, kind: str) -> None:
    """The product of the second derivatives with a vector equals central differences of the first ones."""
    made = case(kind, 1, size=(4, 4))
    cell, weights = made.cell, list(made.cell.parameters())
    generator = torch.Generator().manual_seed(5)
    v = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]

    def slope(create: bool = False) -> tuple[Tensor, list[Tensor]]:
        alpha = made.alpha.clone().requires_grad_()
        y = make_executor(name)(made.x, cell, torch.softmax(alpha, -1), made.mask)
        return alpha, torch.autograd.grad(torch.tanh(y).sum(), [alpha, *weights], create_graph=create)

    alpha, (_, *g) = slope(create=True)
    (exact,) = torch.autograd.grad(sum((a * b).sum() for a, b in zip(g, v, strict=True)), alpha)
    eps, sides = 1e-5, []
    for sign in (1, -2):
        with torch.no_grad():
            for w, direction in zip(weights, v, strict=True):
                w.add_(direction, alpha=sign * eps)
        sides.append(slope()[1][0])
    difference = (sides[0] - sides[1]) / (2 * eps)
    assert (difference - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize("name", HERE)
def test_masked_paths_cost_nothing(name: str) -> None:
    """Only what the mask lets through is called."""
    made = case("normal", 4, keep=0.3)
    called: list[tuple[int, int]] = []

    def refuse(*_: Any) -> None:
        raise AssertionError("a masked operation ran")

    for row, ops in enumerate(made.cell.edges):
        for column, op in enumerate(ops):  # type: ignore[arg-type]
            if not made.mask[row][column]:
                for module in op.modules():
                    module.forward = refuse
                called.append((row, column))
    assert len(called) > 10
    run(name, made)


@pytest.mark.parametrize("name", HERE)
def test_mixed_precision(name: str) -> None:
    """bfloat16 inside, float32 gradients; close to float64 as far as 8 bits of mantissa allow."""
    made = case("normal", 2, size=(6, 6))
    oracle = run("reference", made)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(name, made, dtype=torch.float32)
    assert got["d alpha"].dtype == torch.float32
    for key in ("output", "d alpha"):
        error = (got[key].double() - oracle[key]).norm() / oracle[key].norm()
        assert error < 0.1, f"{key}: {error:.3f}"


def test_weighted_sum_by_hand() -> None:
    """sum_t p_t y_t, dp_t = <g, y_t>, dy_t = p_t g: a factor anywhere is seen."""
    p = torch.randn(4, dtype=torch.float64, requires_grad=True)
    y = [torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    g = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    total = weighted_sum(p, y)
    dp, *dy = torch.autograd.grad(total, [p, *y], g)
    torch.testing.assert_close(total, sum(p[t] * y[t] for t in range(4)))
    torch.testing.assert_close(dp, torch.stack([(g * t).sum() for t in y]).detach())
    for t in range(4):
        torch.testing.assert_close(dy[t], p[t].detach() * g)
    small = [t[:1, :1, :2, :2].detach().requires_grad_() for t in y]
    assert torch.autograd.gradcheck(lambda p, *y: weighted_sum(p, y), (p, *small))
    assert torch.autograd.gradgradcheck(lambda p, *y: weighted_sum(p, y), (p, *small))


def test_weighted_sum_keeps_outputs_only_for_alphas() -> None:
    """The weights' step has no gradient of p, so it need not hold every operation's output."""
    y = [torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(3)]
    for needs, held in ((False, 3), (True, 3 + 3 * 120)):
        saved: list[int] = []
        p = torch.ones(3, requires_grad=needs)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t.numel()) or t, lambda t: t):
            weighted_sum(p, y)
        assert sum(saved) == held


def test_executors_by_name() -> None:
    assert set(EXECUTORS) == {"reference", "torch", "cpu", "cuda"}
    assert make_executor("auto").name == "auto"
    assert all(make_executor(name).name == name for name in EXECUTORS)
    with pytest.raises(SupernetError, match="did you mean 'reference'"):
        make_executor("referense")
