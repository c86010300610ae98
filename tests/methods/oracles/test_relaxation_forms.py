"""Relaxations: closed forms, conditions of optimality, and where the alphas begin."""
# E edges, O operations

import numpy as np
import pytest
import torch
from torch import nn

from supernet.errors import SupernetError
from supernet.methods import Clock
from supernet.methods.relaxation.identity import Identity
from supernet.methods.relaxation.lasso import lasso
from supernet.methods.relaxation.sigmoid import Sigmoid
from supernet.methods.relaxation.simplex import Simplex
from supernet.methods.relaxation.sparse_code import SparseCode, strongest_of
from supernet.methods.relaxation.stable_rank import StableRank, stable_rank
from supernet.methods.relaxation.temperature import Temperature
from supernet.methods.relaxation.uniform import Uniform
from supernet.network import Supernet
from supernet.space import Space, Table, get_space
from supernet.space.choice import Choice

TABLE = Table("t", ("a", "b"), ("x", "y", "z"))
NEVER = float("-inf")
ALPHA = torch.tensor([[0.3, -1.0, 0.7], [NEVER, 0.2, 0.5]], dtype=torch.float64)


def tiny(name: str = "darts", **arguments: object) -> Supernet:
    space = get_space(name, nodes=2) if name == "darts" else get_space(name)
    settings = {"channels": 4, "layers": 3} if name == "darts" else {"channels": 4, "features": 8}
    return Supernet(space, seed=0, executor="torch", **(settings | arguments))


def test_a_temperature_divides_the_alphas_and_falls_over_the_epochs() -> None:
    for form, taus in (("line", [2.0, 1.25, 0.5]), ("exponential", [2.0, 1.0, 0.5])):
        part = Temperature(2.0, 0.5, form)
        place = part.tau.data_ptr()
        for epoch, tau in enumerate(taus):
            part.prepare(Clock(epoch=epoch, epochs=3))
            powers = torch.exp(ALPHA / tau)
            torch.testing.assert_close(part(ALPHA, TABLE), powers / powers.sum(-1, keepdim=True))
        assert part.tau.data_ptr() == place


def test_uniform_weights_count_what_is_left() -> None:
    assert Uniform()(ALPHA, TABLE).tolist() == [[pytest.approx(1 / 3)] * 3, [0, 0.5, 0.5]]
    assert Uniform("all")(ALPHA, TABLE).tolist() == [[pytest.approx(1 / 3)] * 3, [0, *[pytest.approx(1 / 3)] * 2]]
    assert Uniform("one")(ALPHA, TABLE).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_sigmoids_begin_at_one_half_and_do_not_compete() -> None:
    net = tiny()
    Sigmoid().bind(net, 0)
    assert all(not alpha.any() for alpha in net.alphas())
    p = Sigmoid()(ALPHA, TABLE)
    torch.testing.assert_close(p[0], 1 / (1 + torch.exp(-ALPHA[0])))
    assert p[1, 0] == 0


def test_alphas_that_are_the_weights_begin_uniform_or_at_a_start() -> None:
    net = tiny()
    drawn = [alpha.detach().clone() for alpha in net.alphas()]
    Identity(0.5).bind(net, 0)
    for alpha, before in zip(net.alphas(), drawn, strict=True):
        torch.testing.assert_close(alpha.detach(), before + 0.5)
    Simplex().bind(net, 0)
    assert all(torch.equal(alpha.detach(), torch.full_like(alpha, 1 / 8)) for alpha in net.alphas())
    p = Simplex()(torch.tensor([[0.2, 0.3, 0.5], [NEVER, 0.3, 0.1]], dtype=torch.float64), TABLE)
    torch.testing.assert_close(p, torch.tensor([[0.2, 0.3, 0.5], [0, 0.75, 0.25]], dtype=torch.float64))
    assert Identity()(ALPHA, TABLE)[1].tolist() == [0, 0.2, 0.5]


# -------------------------------------------------------------------------------------------------------------- sparse


def test_the_lasso_meets_its_conditions_of_optimality() -> None:
    """A^T (b - A x) = weight sign(x) where x is not 0, and at most weight in size elsewhere."""
    rng = np.random.default_rng(0)
    for scale, weight in ((1e-3, 1e-5), (1.0, 0.1), (1e-3, 1.0)):
        A, b = rng.random((7, 16)), scale * rng.standard_normal(7)
        x = lasso(A, b, weight)
        slope = A.T @ (b - A @ x)
        there = x != 0
        assert there.any() == (weight < 1.0)
        np.testing.assert_allclose(slope[there], weight * np.sign(x[there]), atol=1e-6 * weight)
        assert (np.abs(slope) <= weight * (1 + 1e-6)).all()


def test_a_code_is_one_step_of_ista_on_what_the_cell_would_keep() -> None:
    net = tiny()
    part = SparseCode()
    part.bind(net, 0)
    (table, *_) = net.space.tables
    none = table.columns.index("none")
    p = part(net.alpha[table.name].detach(), table).detach()
    A = part.A.get_buffer(table.name).double()
    x, b = part.x.get_buffer(table.name).double(), part.b[table.name].detach().double()
    targets = np.asarray(table.targets)
    runs = 0
    for number, node in enumerate(sorted(set(table.targets or ()))):
        rows = np.flatnonzero(targets == node)
        columns = [row * len(table.columns) + o for row in rows for o in range(len(table.columns))]
        code = x.flatten()[columns]
        step = (code + A[:, columns].T @ (b[number] - A[:, columns] @ code)).view(len(rows), -1)
        support = p[rows] != 0
        torch.testing.assert_close(p[rows].double()[support], step[support], rtol=1e-4, atol=1e-9)
        assert int(support.sum()) == 2 and int(support.any(-1).sum()) == 2, "two edges, an operation each"
        strongest = code.abs().view(len(rows), -1).amax(-1)
        assert set(strongest.topk(2).indices.tolist()) == set(support.any(-1).nonzero().flatten().tolist())
        runs += int(support.sum())
    assert not p[:, none].any()
    assert runs == int(part.support.get_buffer(table.name).sum()) == 4
    (gradient,) = torch.autograd.grad(part(net.alpha[table.name], table).sum(), part.b[table.name])
    torch.testing.assert_close(
        gradient.sum(), (A * part.support.get_buffer(table.name).double().flatten()).sum().float()
    )


def test_support_is_the_strongest_option_of_the_strongest_rows() -> None:
    sizes = np.array([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.5, 0.6]])
    left = np.ones((4, 2), dtype=bool)
    left[0, 1] = False
    found = strongest_of(sizes, left, [0, 0, 0, 1], 2)
    assert found.tolist() == [[0, 0], [1, 0], [1, 0], [0, 1]]


# --------------------------------------------------------------------------------------------------------- stable rank


def test_the_stable_rank_is_that_of_the_singular_values() -> None:
    kernel = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    singular = np.linalg.svd(kernel.reshape(6, 27).double().numpy(), compute_uv=False)
    assert stable_rank(kernel) == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-9)
    assert stable_rank(torch.eye(5)) == pytest.approx(5)
    assert stable_rank(torch.ones(4, 3)) == pytest.approx(1)


def test_the_least_rank_weighs_most_and_what_has_no_weights_nothing() -> None:
    net = tiny()
    part = StableRank()
    part.bind(net, 0)
    for table in net.space.tables:
        sites = [number for number, name in enumerate(net.sites) if name == table.name]
        p = part(net.alpha[table.name].detach(), table)
        for row in (0, table.shape[0] - 1):
            ranks = {}
            for column in range(table.shape[1]):
                last = [[w for w in net.parameters_of(site, row, column) if w.dim() > 1][-1:] for site in sites]
                if all(last):
                    ranks[column] = np.mean([stable_rank(kernel) for (kernel,) in last])
            total = sum(np.exp(-rank) for rank in ranks.values())
            for column, name in enumerate(table.columns):
                weight = np.exp(-ranks[column]) / total if column in ranks else 0.0
                assert float(p[row, column]) == pytest.approx(weight, rel=1e-4, abs=1e-9), name
    with pytest.raises(SupernetError, match=r"on row .* of table 'blocks/1' of space 'toy' none has any"):
        part.bind(_without_weights(), 0)


def _without_weights() -> Supernet:
    class Net(nn.Module):
        def __init__(self, num_classes: int = 10) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(
                [Choice({"a": nn.Linear(4, 4), "b": nn.Identity()}), Choice({"a": nn.ReLU(), "b": nn.Identity()})]
            )
            self.head = nn.Linear(4, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Supernet(Space(Net, name="toy"), seed=0)
