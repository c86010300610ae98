"""Dirichlet draws: moments, gradient of the mean, rows without some options; the divergence against that of torch."""
# E edges, O operations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.counter import uniform
from supernet.methods.regulariser.dirichlet_kl import DirichletKL
from supernet.methods.sampler.dirichlet import Dirichlet
from supernet.methods.sampler.uniform import Uniform
from supernet.space import get_space

N = 20_000
ALPHA = [-3.0, -0.5, 0.0, 0.4, 1.5]  # concentrations of .05, .61, 1, 1.4 and 2.5


def draws(alpha: Tensor, stream: str = "test") -> Tensor:
    """[N, O] of alphas [O], differentiable by them."""
    sampler = Dirichlet()
    numbers = uniform(0, stream, 0, np.arange(N, dtype=np.int64), len(alpha) * sampler.numbers)
    noise = torch.from_numpy(sampler.draw(numbers.reshape(N, len(alpha), sampler.numbers)))
    rows = alpha.expand(N, -1)
    drawn, gate = sampler(torch.softmax(rows, -1), rows, noise)
    assert gate is None
    return drawn


def test_draws_have_the_moments_of_the_distribution() -> None:
    alpha = torch.tensor(ALPHA, dtype=torch.float64)
    drawn, c = draws(alpha), F.elu(alpha) + 1
    total = c.sum()
    torch.testing.assert_close(drawn.sum(-1), torch.ones(N, dtype=torch.float64))
    mean, variance = c / total, c * (total - c) / (total**2 * (total + 1))
    error = (variance / N).sqrt()
    assert bool(((drawn.mean(0) - mean).abs() < 4 * error).all())
    squares = drawn**2
    exact = variance + mean**2
    assert bool(((squares.mean(0) - exact).abs() < 4 * squares.std(0) / N**0.5).all())
    assert bool(((squares.mean(0) - 2 * exact).abs() > 4 * squares.std(0) / N**0.5).all()), "twice it is noticed"


@pytest.mark.parametrize("option", [0, 2, 4])
def test_the_gradient_through_a_draw_is_that_of_its_mean(option: int) -> None:
    alpha = torch.tensor(ALPHA, dtype=torch.float64, requires_grad=True)
    samples = draws(alpha)[:, option]
    # Each sample's own derivative by every alpha, for the error of their mean.
    rows = alpha.detach().expand(N, -1).clone().requires_grad_()
    sampler = Dirichlet()
    numbers = uniform(0, "test", 0, np.arange(N, dtype=np.int64), len(ALPHA) * sampler.numbers)
    noise = torch.from_numpy(sampler.draw(numbers.reshape(N, len(ALPHA), sampler.numbers)))
    (each,) = torch.autograd.grad(sampler(rows, rows, noise)[0][:, option].sum(), rows)
    (whole,) = torch.autograd.grad(samples.mean(), alpha)
    torch.testing.assert_close(each.mean(0), whole)
    c = F.elu(alpha) + 1
    (exact,) = torch.autograd.grad((c / c.sum())[option], alpha)
    error = each.std(0) / N**0.5
    assert bool(((whole - exact).abs() < 4 * error + 1e-12).all())
    assert abs(whole[option] - 2 * exact[option]) > 4 * error[option]


def test_a_row_without_some_options_draws_as_one_that_never_had_them() -> None:
    alpha = torch.tensor([ALPHA], dtype=torch.float64)
    noise = torch.from_numpy(Dirichlet().draw(np.random.default_rng(0).random((1, len(ALPHA), Dirichlet.numbers))))
    absent = torch.tensor([[False, True, False, True, False]])
    drawn, _ = Dirichlet()(alpha, alpha.masked_fill(absent, float("-inf")), noise)
    whole, _ = Dirichlet()(alpha, alpha, noise)
    left = whole.masked_fill(absent, 0)
    torch.testing.assert_close(drawn, left / left.sum())


def test_a_try_is_accepted_as_often_as_it_says() -> None:
    """All eight fail with 3e-11: here the share that fails of single tries, at the concentration that fails most."""
    c = torch.zeros((), dtype=torch.float64)  # Gamma(c + 1) with c -> 0
    u = np.random.default_rng(1).random((200_000, Dirichlet.numbers))
    noise = torch.from_numpy(Dirichlet().draw(u))
    log_v, z = noise[:, 1], noise[:, 1 + (Dirichlet.numbers - 1) // 2]
    d = c + 2 / 3
    v = (1 + z / (9 * d).sqrt()) ** 3
    fails = ~((v > 0) & (log_v < z**2 / 2 + d * (1 - v + v.clamp_min(1e-30).log())))
    share = float(fails.double().mean())
    assert 0.02 < share < 0.05


def test_the_divergence_from_uniform_is_that_of_torch() -> None:
    table = get_space("nasbench201").tables[0]
    alpha = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c = F.elu(alpha) + 1
    ones = torch.distributions.Dirichlet(torch.ones(5, dtype=torch.float64))
    exact = torch.distributions.kl_divergence(torch.distributions.Dirichlet(c), ones).sum()
    assert float(DirichletKL().penalty(alpha, table)) == pytest.approx(float(exact), rel=1e-9)
    assert float(DirichletKL().penalty(torch.zeros(4, 5, dtype=torch.float64), table)) == pytest.approx(0, abs=1e-12)
    absent = torch.zeros(4, 5, dtype=torch.bool)
    absent[:, 3:] = True
    some = DirichletKL().penalty(alpha.masked_fill(absent, float("-inf")), table)
    three = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64))
    exact = torch.distributions.kl_divergence(torch.distributions.Dirichlet(c[:, :3]), three).sum()
    assert float(some) == pytest.approx(float(exact), rel=1e-9)


def test_a_uniform_path_takes_each_option_that_there_is_alike() -> None:
    alpha = torch.tensor([[0.0, 9.0, float("-inf"), -4.0]], dtype=torch.float64).expand(N, -1)
    noise = torch.from_numpy(uniform(0, "test", 2, np.arange(N, dtype=np.int64), 4))
    weights, gate = Uniform()(torch.softmax(alpha, -1), alpha, noise)
    assert gate is not None
    assert torch.equal(weights, gate.double())
    share = gate.double().mean(0)
    assert share[2] == 0
    assert bool(((share[[0, 1, 3]] - 1 / 3).abs() < 4 * (2 / 9 / N) ** 0.5).all())
