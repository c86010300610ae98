"""Beta decay and noise on the mixing weights: closed forms, ramps, and which half of a step sees them."""
# E edges, O operations

import pytest
import torch

from supernet.config import MethodConfig
from supernet.methods import Clock
from supernet.methods.perturbation.random import Random
from supernet.methods.regulariser.beta_decay import BetaDecay
from tests.methods.test_parts import batches, step_of, tiny


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_its_gradient_is_the_mixing_weights_over_the_number_of_rows(epoch: int) -> None:
    net, gradients = tiny(), []
    for parts in ((), ({"name": "beta_decay", "factor": 50.0},)):
        step = step_of(MethodConfig(regularisers=list(parts)), net)
        step.prepare(epoch)
        gradients.append(step.alpha_gradients(*batches())[1])
    for table, alpha, plain, more in zip(net.space.tables, net.alphas(), *gradients, strict=True):
        p = torch.softmax(net.options.masked({t.name: net.alpha[t.name] for t in net.space.tables})[table.name], -1)
        expected = 50 * epoch / 4 * p / len(alpha)
        torch.testing.assert_close(more - plain, expected.detach(), rtol=1e-4, atol=1e-6)


def test_beta_decay_by_automatic_differentiation() -> None:
    alpha = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    part = BetaDecay()
    (gradient,) = torch.autograd.grad(part.penalty(alpha, tiny().space.tables[0]), alpha)
    torch.testing.assert_close(gradient, torch.softmax(alpha, -1).detach() / 3, rtol=1e-10, atol=1e-12)


def test_noise_is_uniform_within_a_bound_that_grows() -> None:
    net, values = tiny(), []
    step = step_of(MethodConfig(perturbation={"name": "random", "eps": 0.03, "eps_end": 0.3}), net)
    part = step.method.perturbation
    assert isinstance(part, Random)
    for number in range(200):
        part.prepare(Clock(step=number, epoch=4, epochs=4))
        noisy = part(step.problem("weights", *batches()))
        clean = step.method.mixture(net, "weights")
        for site, name in enumerate(net.sites):
            assert torch.equal(noisy.p[site], noisy.p[net.sites.index(name)]), "one draw for the cells of a table"
        values.append((noisy.p[0] - clean.p[0]).detach().reshape(-1))
    delta = torch.cat(values).double()
    assert float(delta.abs().max()) <= 0.3 + 1e-6
    assert abs(float(delta.mean())) < 4 * float(delta.std()) / len(delta) ** 0.5
    squares = delta**2
    assert abs(float(squares.mean()) - 0.03) < 4 * float(squares.std()) / len(delta) ** 0.5, "eps^2 / 3"
    sizes = []
    for epoch in range(4):
        part.prepare(Clock(step=0, epoch=epoch, epochs=4))
        sizes.append(float(part.eps))
    assert sizes == pytest.approx([0.03, 0.0975, 0.165, 0.2325], abs=1e-6)


def test_only_the_weights_learn_under_noise() -> None:
    """The alphas' gradient is that of the clean mixture; the weights' is not."""
    found = []
    for perturbation in (None, "random"):
        step = step_of(MethodConfig(perturbation=perturbation))
        step.prepare(3)
        train, val = batches()
        alphas = step.alpha_gradients(train, val)[1]
        step.weight_gradients(train)
        found.append((alphas, [w.grad for w in step.weights]))
    (clean, clean_w), (noisy, noisy_w) = found
    assert all(torch.equal(a, b) for a, b in zip(clean, noisy, strict=True))
    assert any(a is not None and b is not None and not torch.equal(a, b) for a, b in zip(clean_w, noisy_w, strict=True))
