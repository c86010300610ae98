"""Samplers of few paths: estimates against enumeration and closed forms, draws against their probabilities."""
# E edges, O operations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.config import MethodConfig
from supernet.counter import uniform
from supernet.methods import Clock
from supernet.methods.parts import Sampler
from supernet.methods.sampler.fair import Fair
from supernet.methods.sampler.gumbel import Gumbel
from supernet.methods.sampler.max_of_draws import MaxOfDraws
from supernet.methods.sampler.reinmax import ReinMax
from supernet.methods.sampler.support import Support
from supernet.methods.sampler.top1 import Top1
from supernet.methods.sampler.two_paths import TwoPaths
from supernet.network import Supernet
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep

N = 40_000
P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def drawn(sampler: Sampler, stream: int) -> tuple[Tensor, Tensor | None]:
    """(weights, gate) [N, 4] of as many rows with the probabilities P."""
    numbers = uniform(0, "test", stream, np.arange(N, dtype=np.int64), 4 * sampler.numbers)
    noise = torch.from_numpy(sampler.draw(numbers if sampler.numbers == 1 else numbers.reshape(N, 4, -1)))
    return sampler(P.expand(N, 4), P.expand(N, 4), noise)


def close_to(share: Tensor, p: Tensor) -> bool:
    """Within 4 standard errors."""
    return bool(((share - p).abs() < 4 * (p * (1 - p) / N).sqrt()).all())


def forced(k: int, others: int = 4) -> Tensor:
    """Noise [1, O] by which option k is drawn."""
    return torch.nn.functional.one_hot(torch.tensor([k]), others).double() * 1e3


def test_a_temperature_falls_by_a_factor_an_epoch() -> None:
    sampler, taus = Gumbel(tau=5.0, decay=0.5), []
    for epoch in range(3):
        sampler.prepare(Clock(epoch=epoch, epochs=9))
        taus.append(float(sampler.tau))
    assert taus == [5.0, 2.5, 1.25]


# ------------------------------------------------------------------------------------------------------------ ReinMax


def test_the_expectation_of_reinmax_is_the_gradient_of_a_quadratic_function() -> None:
    """E over the draws of the estimate = d/dtheta of sum_k p_k f(e_k), exactly; plain straight-through is not."""
    generator = torch.Generator().manual_seed(0)
    theta, Q, c = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((1, 4), (4, 4), (4,)))
    theta.requires_grad_()

    def f(d: Tensor) -> Tensor:
        return d @ Q @ d + c @ d

    sampler = ReinMax()
    sampler.for_half = "alphas"
    estimate, through = torch.zeros_like(theta), torch.zeros_like(theta)
    for k in range(4):
        p = torch.softmax(theta, -1)
        weights, gate = sampler(p, theta, forced(k))
        assert gate is None, "the estimate needs what every operation would give"
        assert weights[0].tolist() == [float(o == k) for o in range(4)]
        estimate += p[0, k].item() * torch.autograd.grad(f(weights[0]), theta, retain_graph=True)[0]
        hard = weights.detach() + p - p.detach()
        through += p[0, k].item() * torch.autograd.grad(f(hard[0]), theta)[0]
    p = torch.softmax(theta, -1)[0]
    (true,) = torch.autograd.grad(torch.stack([p[k] * f(torch.eye(4).double()[k]) for k in range(4)]).sum(), theta)
    torch.testing.assert_close(estimate, true, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(through, true, rtol=1e-2)


def test_reinmax_runs_the_drawn_operation_alone_where_weights_learn() -> None:
    sampler = ReinMax(tau=2.0)
    weights, gate = drawn(sampler, 0)
    assert gate is not None
    assert torch.equal(weights, gate.double())
    assert close_to(weights.mean(0), P)


# --------------------------------------------------------------------------------------------------------------- DATA


def test_an_operation_is_among_the_draws_with_its_probability() -> None:
    for draws in (2, 3):
        weights, gate = drawn(MaxOfDraws(draws), 1)
        assert gate is not None
        share = gate.double().mean(0)
        assert close_to(share, 1 - (1 - P) ** draws)
        assert not close_to(share, 1 - (1 - P) ** (draws - 1))
        torch.testing.assert_close(weights.sum(-1), torch.ones(N, dtype=torch.float64))
        torch.testing.assert_close(weights, gate.double() / gate.sum(-1, keepdim=True))


def test_the_gradient_of_two_draws_is_that_of_what_they_drew() -> None:
    """Of i and j: w_i = s_i / (s_i + s_j), so dL/ds_i = (g_i - g_j) / 4, and s_i has the gradient of its own y."""
    generator = torch.Generator().manual_seed(1)
    alpha, g = (torch.randn(1, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    alpha.requires_grad_()
    noise = torch.stack([forced(1), forced(3)], -1) * 1e-2  # both y stay away from one-hot
    weights, gate = MaxOfDraws(2, tau=3.0)(torch.softmax(alpha, -1), alpha, noise)
    assert gate is not None and gate[0].tolist() == [False, True, False, True]
    (gradient,) = torch.autograd.grad((weights * g).sum(), alpha)
    expected = torch.zeros(4, dtype=torch.float64)
    for draw, (own, other) in enumerate([(1, 3), (3, 1)]):
        y = torch.softmax((torch.log_softmax(alpha.detach(), -1) + noise[..., draw]) / 3.0, -1)[0]
        jacobian = (torch.diag(y) - torch.outer(y, y)) / 3.0
        expected += (g[0, own] - g[0, other]) / 4 * jacobian[own]
    torch.testing.assert_close(gradient[0], expected, rtol=1e-10, atol=1e-12)


# -------------------------------------------------------------------------------------------------------- ProxylessNAS


def test_a_pair_is_drawn_without_replacement_and_one_of_it_is_active() -> None:
    sampler = TwoPaths()
    sampler.for_half = "alphas"
    weights, gate = drawn(sampler, 2)
    assert gate is not None
    assert gate.sum(-1).unique().tolist() == [2]
    assert torch.equal(weights.sum(-1), torch.ones(N, dtype=torch.float64))
    assert bool((weights.bool() <= gate).all()), "the active one is of the pair"
    for i, j in ((0, 1), (2, 3)):
        together = (gate[:, i] & gate[:, j]).double().mean()
        exact = P[i] * P[j] / (1 - P[i]) + P[j] * P[i] / (1 - P[j])
        assert close_to(together, exact)
        active = weights[gate[:, i] & gate[:, j]][:, i].mean()
        assert float(active) == pytest.approx(float(P[i] / (P[i] + P[j])), abs=4 * 0.5 / (float(exact) * N) ** 0.5)
    sampler.for_half = "weights"
    weights, gate = drawn(sampler, 3)
    assert gate is not None and torch.equal(weights, gate.double())
    assert close_to(weights.mean(0), P)


def test_the_gradient_of_a_pair_is_its_closed_form() -> None:
    """dL/da_i = sum_j dL/db_j q_j (delta_ij - q_i) for the pair, nothing for the others."""
    generator = torch.Generator().manual_seed(2)
    alpha, g = (torch.randn(1, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    alpha.requires_grad_()
    noise = torch.stack([forced(0) + forced(2), torch.zeros(1, 4, dtype=torch.float64)], -1)
    sampler = TwoPaths()
    sampler.for_half = "alphas"
    weights, gate = sampler(torch.softmax(alpha, -1), alpha, noise)
    assert gate is not None and gate[0].tolist() == [True, False, True, False]
    (gradient,) = torch.autograd.grad((weights * g).sum(), alpha)
    pair = [0, 2]
    q = torch.softmax(alpha.detach()[0, pair], -1)
    expected = torch.zeros(4, dtype=torch.float64)
    for i in range(2):
        expected[pair[i]] = sum(g[0, pair[j]] * q[j] * (float(i == j) - q[i]) for j in range(2))
    torch.testing.assert_close(gradient[0], expected, rtol=1e-10, atol=1e-12)


def test_a_row_with_one_option_left_runs_it() -> None:
    alpha = torch.tensor([[float("-inf"), 0.3, float("-inf")]], dtype=torch.float64, requires_grad=True)
    sampler = TwoPaths()
    sampler.for_half = "alphas"
    weights, gate = sampler(torch.softmax(alpha, -1), alpha, torch.zeros(1, 3, 2, dtype=torch.float64))
    assert gate is not None and gate[0].tolist() == [False, True, False]
    assert weights[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("sampler", [Gumbel(), Gumbel(hard=True), ReinMax(), MaxOfDraws(), TwoPaths()], ids=repr)
def test_options_that_a_row_lacks_leave_its_gradient_finite(sampler: Sampler) -> None:
    raw = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    alpha = raw.masked_fill(torch.tensor([[True, False, False]]), float("-inf"))
    sampler.for_half = "alphas"
    shape = (1, 3) if sampler.numbers == 1 else (1, 3, sampler.numbers)
    noise = torch.from_numpy(sampler.draw(uniform(0, "test", 4, np.arange(3), sampler.numbers))).reshape(shape)
    weights, _ = sampler(torch.softmax(alpha, -1), alpha, noise)
    (gradient,) = torch.autograd.grad((weights * torch.tensor([[5.0, 1.0, 2.0]])).sum(), raw)
    assert weights[0, 0] == 0
    assert bool(gradient.isfinite().all())
    assert gradient[0, 0] == 0


# --------------------------------------------------------------------------------------------------------------- NASP


def test_top1_is_the_strongest_option_of_the_strongest_edges_of_each_node() -> None:
    net = Supernet(get_space("darts", nodes=3), seed=0, executor="torch", channels=2, layers=1)
    (table, *_) = net.space.tables
    sampler = Top1()
    sampler.bind(net, 0)
    sampler.table = table
    none = table.columns.index("none")
    for seed in range(5):
        p = torch.rand(*table.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        p.requires_grad_()
        expected = torch.zeros(table.shape, dtype=torch.float64)
        rows = [[(x, o) for o, x in enumerate(row) if o != none] for row in p.tolist()]
        for node in sorted(set(table.targets or ())):
            incoming = [row for row, target in enumerate(table.targets or ()) if target == node]
            for row in sorted(incoming, key=lambda row: -max(rows[row])[0])[:2]:
                expected[row, max(rows[row])[1]] = 1
        sampler.for_half = "weights"
        weights, gate = sampler(p, p.detach(), torch.empty(0))
        assert gate is not None
        assert torch.equal(weights, expected)
        assert torch.equal(gate.double(), expected)
        sampler.for_half = "alphas"
        weights, gate = sampler(p, p.detach(), torch.empty(0))
        assert gate is None
        assert torch.equal(weights.detach(), expected)
        g = torch.randn(table.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        (gradient,) = torch.autograd.grad((weights * g).sum(), p)
        assert torch.equal(gradient, g), "of every option, at the discrete point"


# ------------------------------------------------------------------------------------------------------------- FairNAS


def test_each_operation_runs_exactly_once_a_step() -> None:
    alpha = torch.zeros(2, 4)
    alpha[1, 3] = float("-inf")
    orders = set()
    for step in range(40):
        noise = torch.from_numpy(uniform(0, "test", step, np.arange(2, dtype=np.int64), 4)).float()
        sampler, runs = Fair(), torch.zeros(2, 4)
        order = []
        for sampler.number in range(4):
            weights, gate = sampler(torch.softmax(alpha, -1), alpha, noise)
            assert gate is not None and torch.equal(weights, gate.float())
            runs += weights
            order.append(int(gate[0].int().argmax()))
        assert runs[0].tolist() == [1, 1, 1, 1]
        assert sorted(runs[1].tolist()) == [0, 1, 1, 2], "a shorter row begins again"
        orders.add(tuple(order))
    assert len(orders) > 12 and orders <= set(permutations(range(4)))


def test_the_gradients_of_all_passes_are_added_up() -> None:
    net = Supernet(get_space("darts", nodes=1), seed=0, executor="torch", channels=2, layers=1, in_chans=1)
    step = BilevelStep(
        net, ImageClassification(10), method=MethodConfig(sampler="fair", hypergradient="none", name="fair")
    )
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(2, 1, 8, 8, generator=generator), torch.tensor([1, 2])
    step.prepare(0, 0)
    assert step.method.passes == 8
    loss, _ = step.weight_gradients(batch)
    gradients = [None if w.grad is None else w.grad.clone() for w in step.weights]
    losses = []
    for w in step.weights:
        w.grad = None
    for number in range(8):
        mixture = step.method.mixture(net, "weights", number)
        losses.append(torch.nn.functional.cross_entropy(net(batch[0], mixture), batch[1]))
        losses[-1].backward()
    torch.testing.assert_close(loss, torch.stack(losses).sum().detach())
    for w, gradient in zip(step.weights, gradients, strict=True):
        assert (w.grad is None) == (gradient is None)
        if gradient is not None and w.grad is not None:
            torch.testing.assert_close(gradient, w.grad, rtol=1e-4, atol=1e-6)
    operations = [w for row in range(2) for o in range(8) for w in net.parameters_of(0, row, o)]
    assert operations and all(w.grad is not None for w in operations), "every operation has learned"


def test_support_runs_what_has_a_weight() -> None:
    p = torch.tensor([[0.0, -0.2, 0.0], [0.4, 0.0, 0.1]], requires_grad=True)
    weights, gate = Support()(p, p, torch.empty(0))
    assert weights is p
    assert gate is not None and gate.tolist() == [[False, True, False], [True, False, True]]
