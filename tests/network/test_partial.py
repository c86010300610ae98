"""Partial channels (PC-DARTS, arXiv:1907.05737) against a slow loop written from the paper's definition."""
# B batch, C channels, H height, W width, E edges, O operations

import copy

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import Supernet, build, make_executor
from supernet.network.cells.cell import CellPlan, MixedCell
from supernet.space import CellSpace, get_space

EXECUTORS = ("reference", "torch", "cpu")
SMALL = {"channels": 4, "layers": 3, "num_classes": 3}


def slow_cell(cell: MixedCell, x: list[Tensor], p: Tensor) -> Tensor:
    """Equation 2 of the paper for each edge, the shuffle channel by channel, sums over edges last."""
    states, k = cell.enter(x), cell.partial
    for node in range(cell.nodes):
        total: Tensor | None = None
        for edge in cell.incoming(node):
            source = states[edge.source]
            c = source.shape[1] // k
            mixed = sum(p[edge.row, column] * op(source[:, :c]) for column, op in cell.operations(edge.row))
            passed = source
            if cell.stride(edge.source) == 2:
                passed = nn.MaxPool2d(2, 2, ceil_mode=True)(source)
            groups = [mixed, *(p[edge.row].sum() * passed[:, j * c : (j + 1) * c] for j in range(1, k))]
            channels = [group[:, q] for q in range(c) for group in groups]  # q of each group before q + 1 of any
            edge_output = torch.stack(channels, dim=1)
            total = edge_output if total is None else total + edge_output
        assert total is not None
        states.append(total)
    return torch.cat([states[i] for i in cell.concat], dim=1)


def partial_cell(kind: str, k: int, channels: int, size: tuple[int, int]) -> tuple[MixedCell, list[Tensor], Tensor]:
    """A cell in float64 with random weights, what enters it, and rows of p that sum to the weight of their edge."""
    torch.manual_seed(0)
    if kind == "nasbench201":
        space = get_space("nasbench201")
        plan, shapes = CellPlan("cell", (channels,), channels, preprocess=False), [channels]
    else:
        space = get_space("s1" if kind == "s1" else "darts", **({} if kind == "s1" else {"nodes": 2}))
        plan = CellPlan("reduce" if kind == "reduce" else "normal", (3, 5), channels, kind == "reduce")
        shapes = [3, 5]
    assert isinstance(space, CellSpace)
    cell = MixedCell(space, plan, pool_bn=kind != "nasbench201", partial=k).double()
    x = [torch.randn(2, c, *size, dtype=torch.float64) for c in shapes]
    table = next(table for table in space.tables if table.name == plan.kind)
    p = torch.rand(table.shape, dtype=torch.float64) * torch.tensor(table.mask)
    return cell, x, p


def gradients(y: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    grads = torch.autograd.grad(y, leaves, cotangent, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=True)]


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
@pytest.mark.parametrize("kind", ["normal", "reduce", "s1", "nasbench201"])
def test_equals_the_definition_of_the_paper(name: str, kind: str, size: tuple[int, int], k: int) -> None:
    """Output and all gradients to 1e-10, on even and odd sizes, with edges of different weight."""
    cell, x, p = partial_cell(kind, k, 8, size)
    mask, leaves = p > 0, [p.requires_grad_(), *(state.requires_grad_() for state in x)]
    found = []
    for one in (copy.deepcopy(cell), cell):
        y = slow_cell(one, x, p * mask) if one is cell else make_executor(name)(x, one, p, mask.tolist())
        found.append([y.detach(), *gradients(y, [*leaves, *one.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        assert (ours - theirs).abs().max().item() <= 1e-10 * scale


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_the_mask_leaves_out_adds_nothing(name: str) -> None:
    """A masked operation counts as one of weight 0, an edge without operations has no bypass, and `none` alone has."""
    cell, x, p = partial_cell("normal", 2, 4, (4, 4))
    p, mask = p + 0.1, torch.ones_like(p, dtype=torch.bool)
    mask[0, 3], mask[1], mask[2:, :] = False, False, False  # node 0: edge 0 but for one operation
    mask[3, 0] = True  # node 1: `none` of one edge
    got = make_executor(name)(x, cell, p, mask.tolist())
    torch.testing.assert_close(got, slow_cell(cell, x, p * mask), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_node_without_edges_is_zero(name: str) -> None:
    """All channels of it."""
    cell, x, p = partial_cell("reduce", 4, 8, (5, 5))
    y = make_executor(name)(x, cell, p, torch.zeros_like(p, dtype=torch.bool).tolist())
    assert y.shape == (2, 16, 3, 3) and not y.any()


def test_float32_of_the_wide_executor_is_as_exact_as_the_definition() -> None:
    """At most twice the error of the slow loop in float32, plus 1e-6."""
    cell, x, p = partial_cell("reduce", 4, 8, (8, 8))
    oracle = slow_cell(cell, x, p).detach()
    cell, x, p = cell.float(), [state.float() for state in x], p.float()

    def error(y: Tensor) -> float:
        return float((y.detach().double() - oracle).norm() / oracle.norm())

    wide = make_executor("torch")(x, cell, p, (p > 0).tolist())
    assert error(wide) <= 2 * error(slow_cell(cell, x, p)) + 1e-6


def test_a_share_of_one_changes_nothing() -> None:
    """Not one bit, and no name of the state."""
    plain = Supernet(get_space("darts"), executor="torch", seed=0, **SMALL)
    same = Supernet(get_space("darts"), executor="torch", seed=0, partial=1, **SMALL)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(plain(x), same(x))
    assert plain.state_dict().keys() == Supernet(get_space("darts"), partial=4, **SMALL).state_dict().keys()


def test_pc_darts_has_the_published_number_of_weights() -> None:
    """299,578 for k = 4 at 16 channels and 8 layers."""
    net = Supernet(get_space("darts"), partial=4)
    assert sum(p.numel() for p in net.body.parameters()) == 299_578


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_executors_agree_on_a_whole_network(space: str) -> None:
    """Logits and the gradients of the alphas in float64."""
    size = SMALL if space == "darts" else {"channels": 4, "cells_per_stage": 1, "num_classes": 3}
    x, found = torch.randn(2, 3, 9, 9, dtype=torch.float64), []
    for name in EXECUTORS:
        net = Supernet(get_space(space), executor=name, seed=0, partial=2, **size).double()
        y = net(x)
        y.square().sum().backward()
        found.append([y.detach(), *(alpha.grad for alpha in net.alphas())])
    for first, *others in zip(*found, strict=True):
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-10, atol=1e-10)


def test_double_backward_goes_through_the_bypass() -> None:
    """The mixed derivative that exact hypergradients need, against differences of the first."""
    cell, x, p = partial_cell("reduce", 2, 4, (4, 4))
    p = p.requires_grad_()
    weight = next(iter(cell.parameters())).requires_grad_()

    def slope(of: Tensor) -> Tensor:
        y = make_executor("torch")(x, cell, of, (p > 0).tolist())
        return torch.autograd.grad(y.square().sum(), weight, create_graph=True)[0].square().sum()

    (exact,) = torch.autograd.grad(slope(p), p)
    direction = torch.randn_like(p) * (p > 0)
    step = 1e-6 * direction
    difference = (slope(p.detach() + step) - slope(p.detach() - step)) / 2e-6
    torch.testing.assert_close((exact * direction).sum(), difference.detach(), rtol=1e-5, atol=1e-6)


def test_the_discrete_network_sees_every_channel_and_inherits_nothing() -> None:
    """`build` gives the normal cell; shared weights that do not fit are refused in one line."""
    net = Supernet(get_space("darts"), partial=4, **SMALL)
    genotype = net.genotype()
    assert build(genotype, **SMALL).state_dict().keys() == build(genotype, seed=1, **SMALL).state_dict().keys()
    with pytest.raises(SupernetError, match=r"network\.partial=4 do not fit .* build\(supernet\.genotype\(\)"):
        net.discretize()
    with pytest.raises(SupernetError, match="partial"):
        build(genotype, partial=4, **SMALL)


@pytest.mark.parametrize(("k", "said"), [(3, "must divide"), (0, "whole number"), (2.0, "of type int")])
def test_a_share_that_does_not_fit_is_refused(k: object, said: str) -> None:
    """By the name of the setting."""
    with pytest.raises(SupernetError, match=rf"partial='?{k}.*{said}"):
        Supernet(get_space("darts"), partial=k, **SMALL)


def test_an_activated_genotype_runs_its_edges_only() -> None:
    """Bypass included: the others have the weight 0."""
    net = Supernet(get_space("darts"), executor="torch", seed=0, partial=2, **SMALL).double().eval()
    other = Supernet(get_space("darts"), executor="reference", seed=0, partial=2, **SMALL).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for one in (net, other):
        one.activate(net.genotype())
    torch.testing.assert_close(net(x), other(x), rtol=1e-10, atol=1e-10)
