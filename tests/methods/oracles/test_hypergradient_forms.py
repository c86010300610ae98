"""Implicit forms on quadratics whose answer is known, the mix of two levels, and ascent against its own objective."""
# A numbers of alphas, N numbers of weights

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.config import MethodConfig
from supernet.errors import SupernetError
from supernet.methods import Estimate, Method, Problem
from supernet.methods.hypergradient.ascent import Ascent
from supernet.methods.hypergradient.conjugate_gradient import ConjugateGradient
from supernet.methods.hypergradient.mixed_level import MixedLevel
from supernet.methods.hypergradient.neumann import Neumann
from tests.support.problems import problem_of

N, A, LR = 6, 4, 0.2


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quadratic() -> tuple[Problem, dict[str, Tensor]]:
    """L_train = (w - Ba)^T H (w - Ba) / 2, whose weights are not the best ones, and L_val = |w - c|^2 / 2 + a.d"""
    root = draw(N, N, seed=0) / 3
    H, B = root @ root.T + torch.eye(N, dtype=torch.float64), draw(N, A, seed=1)
    w = [draw(2, 2, seed=2).requires_grad_(), draw(2, seed=3).requires_grad_()]
    a = [draw(1, A, seed=4).requires_grad_()]
    c, d = draw(N, seed=5), draw(A, seed=6)

    def flat() -> Tensor:
        return torch.cat([part.flatten() for part in w])

    def train() -> Tensor:
        away = flat() - B @ a[0][0]
        return away @ H @ away / 2

    def val() -> Tensor:
        return ((flat() - c) ** 2).sum() / 2 + a[0][0] @ d

    with torch.no_grad():
        g, v = H @ (flat() - B @ a[0][0]), flat() - c
    return problem_of(w, a, train, val, LR), {"H": H, "mixed": -H @ B, "g": g, "v": v, "d": d}


def implicit_of(estimate: Estimate) -> Tensor:
    assert estimate.implicit is not None
    return estimate.implicit[0][0]


@pytest.mark.parametrize("terms", [0, 2, 200])
def test_the_series_is_the_closed_form(terms: int) -> None:
    """eta sum (I - eta H)^k = (I - (I - eta H)^(K + 1)) H^-1, which many terms bring to H^-1."""
    problem, q = quadratic()
    eye = torch.eye(N, dtype=torch.float64)
    inverse = torch.linalg.inv(q["H"])
    series = (eye - torch.linalg.matrix_power(eye - LR * q["H"], terms + 1)) @ inverse
    estimate = Neumann(terms=terms)(problem)
    expected = -q["mixed"].T @ series @ q["v"]
    torch.testing.assert_close(implicit_of(estimate), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(estimate.direct[0][0], q["d"], rtol=1e-12, atol=1e-12)
    assert float((implicit_of(estimate) - 2 * expected).norm() / expected.norm()) > 0.5
    exact = -q["mixed"].T @ inverse @ q["v"]
    error = float((expected - exact).norm() / exact.norm())
    assert error < 1e-6 if terms == 200 else error > 0.05, "few terms are far from the inverse"


def test_the_diagonal_form_takes_the_slope_of_the_gradients_norm() -> None:
    problem, q = quadratic()
    h = q["H"] @ q["g"] / q["g"].norm()
    factor = 1 + (1 - LR * h) + (1 - LR * h) ** 2
    expected = -LR * q["mixed"].T @ (factor * q["v"])
    got = implicit_of(Neumann(terms=2, form="diagonal")(problem))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(got, implicit_of(Neumann(terms=2)(problem)), rtol=1e-2)
    with torch.no_grad():  # no gradient, no direction
        problem.weights[0].zero_(), problem.weights[1].zero_(), problem.alphas[0].zero_()
    assert bool(torch.isfinite(implicit_of(Neumann(form="diagonal")(problem))).all())


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_conjugate_gradients_solve_for_the_inverse(damping: float) -> None:
    """In as many steps as there are numbers, and stay there."""
    problem, q = quadratic()
    bent = q["H"] + damping * torch.eye(N, dtype=torch.float64)
    expected = -q["mixed"].T @ torch.linalg.solve(bent, q["v"])
    for steps in (N, N + 4):
        got = implicit_of(ConjugateGradient(steps=steps, damping=damping)(problem))
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(got, 2 * expected, rtol=1e-2)


def test_conjugate_gradients_stop_where_the_curve_turns_down() -> None:
    """At once: s = eta v, so that the term is -eta (dg/da)^T v."""
    w, a = draw(3, seed=7).requires_grad_(), draw(1, 3, seed=8).requires_grad_()
    problem = problem_of([w], [a], lambda: -(w**2).sum() + (a[0] * w).sum(), lambda: w.sum(), LR)
    expected = torch.full((3,), -LR, dtype=torch.float64)
    torch.testing.assert_close(implicit_of(ConjugateGradient(damping=0.0)(problem)), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_mix_is_the_sum_of_two_gradients(weight: float) -> None:
    problem, _ = quadratic()
    val, train = (torch.autograd.grad(problem.loss(name), problem.alphas)[0] for name in ("val", "train"))
    torch.testing.assert_close(MixedLevel(weight)(problem).total[0], val + weight * train, rtol=1e-12, atol=1e-12)


def bowl() -> Problem:
    """A smooth validation loss of two tables."""
    a = [draw(2, 3, seed=9).requires_grad_(), draw(1, 2, seed=10).requires_grad_()]
    w = draw(8, 5, seed=11).requires_grad_()

    def val() -> Tensor:
        return (torch.tanh(torch.cat([part.flatten() for part in a]) @ w) ** 2).sum()

    return problem_of([w], a, val, val, LR)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.4])
def test_ascent_is_the_gradient_of_the_loss_a_step_up(rho: float) -> None:
    """(I + rho H) grad L(a~), H at a, by differentiating L(a + rho grad L(a)) twice."""
    problem = bowl()
    slopes = torch.autograd.grad(problem.loss("val"), problem.alphas, create_graph=True)
    w = problem.weights[0]
    above = torch.cat([(a + rho * g).flatten() for a, g in zip(problem.alphas, slopes, strict=True)])
    expected = flat(torch.autograd.grad((torch.tanh(above @ w) ** 2).sum(), problem.alphas))
    before = flat(problem.alphas)
    estimate = Ascent(rho=rho, r=1e-4)(problem)
    got = flat(estimate.total)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)
    assert torch.equal(flat(problem.alphas), before)
    assert float(estimate.val_loss) == pytest.approx(float(problem.loss("val").detach()))
    if rho:
        plain = flat(torch.autograd.grad(problem.loss("val"), problem.alphas))
        assert float((expected - plain).norm() / plain.norm()) > 0.05
        assert not torch.allclose(flat(Ascent(rho=2 * rho, r=1e-4)(problem).total), expected, rtol=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hypergradient": {"name": "neumann", "form": "diag"}}, "form of neumann 'diag'; did you mean 'diagonal'"),
        ({"hypergradient": {"name": "neumann", "terms": -1}}, "neumann: terms=-1 must be 0 or more"),
        ({"hypergradient": {"name": "conjugate_gradient", "steps": 0}}, "steps=0 must be 1 or more"),
        ({"hypergradient": {"name": "mixed_level", "weight": -1}}, "mixed_level: weight=-1 must be 0 or more"),
        ({"hypergradient": {"name": "ascent", "r": 0}}, "ascent: r=0 must be above 0"),
        ({"hypergradient": "neumann", "sampler": {"name": "gumbel", "hard": True}},
         "method.sampler=gumbel does not go with method.hypergradient=neumann"),
        ({"hypergradient": "conjugate_gradient", "sampler": {"name": "gumbel", "hard": True}},
         "method.sampler=gumbel does not go with method.hypergradient=conjugate_gradient"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
