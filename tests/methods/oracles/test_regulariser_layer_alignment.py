"""The agreement of cells: its direction and its gradient by the weights against differentiating twice."""
# E edges, O operations, L cells, N numbers of a table

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.config import MethodConfig
from supernet.errors import SupernetError
from supernet.methods import Clock, Method
from supernet.methods.regulariser.layer_alignment import LayerAlignment, alignment_slopes
from supernet.network.mixture import Mixture
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from tests.support.mixtures import bound, pair_net, problem_on

LAST = Clock(step=3, epoch=3, epochs=4)


def score(g_LN: Tensor, name: str) -> Tensor:
    """Lambda, a scalar, pair by pair."""
    cells, total = len(g_LN), torch.zeros((), dtype=g_LN.dtype)
    for i in range(cells):
        for j in range(i):
            one, other = g_LN[i], g_LN[j]
            size = one.norm() * other.norm() if name == "corr" else one.abs() @ other.abs()
            total = total + one @ other / size
    return 2 / (cells * (cells - 1)) * total


@pytest.mark.parametrize("name", ["corr", "signcorr"])
def test_the_direction_is_the_gradient_of_the_score(name: str) -> None:
    g = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (expected,) = torch.autograd.grad(score(g.flatten(1), name), g)
    torch.testing.assert_close(alignment_slopes(g, name), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(alignment_slopes(g, name), 2 * expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["corr", "signcorr"])
def test_the_gradient_by_the_weights_is_that_of_minus_the_score(name: str) -> None:
    """By double autograd, for a smooth loss of weights and of the p of each cell; reduction cells have no part."""
    net = pair_net(layers=6)
    generator = torch.Generator().manual_seed(1)
    numbers = net.mixture().p[0].numel()
    w = torch.randn(len(net.sites), 3, numbers, dtype=torch.float64, generator=generator).requires_grad_()

    def loss(mixture: Mixture) -> Tensor:
        parts = [torch.tanh(w[site] @ p.flatten()) for site, p in enumerate(mixture.p)]
        return (torch.stack(parts).sum(0) ** 2).sum()

    part = bound(LayerAlignment(factor=0.3, eps=1e-4, score=name), net, LAST)
    problem = problem_on(net, loss, [w])
    leaves = problem.leaves()
    slopes = torch.autograd.grad(loss(leaves), leaves.p, create_graph=True)
    normal = [site for site, table in enumerate(net.sites) if table == "normal"]
    assert len(normal) == 4
    value = score(torch.stack([slopes[site].flatten() for site in normal]), name)
    (expected,) = torch.autograd.grad(-0.3 * value, w)
    seen = replace(problem, slopes=[g.detach() for g in slopes], mixture=lambda: leaves)
    (got,) = part.weights(seen)
    assert float(expected.norm()) > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(got, 2 * expected, rtol=1e-2)
    part.prepare(Clock(step=0, epoch=0, epochs=4))
    assert torch.equal(part.weights(seen)[0], torch.zeros_like(w)), "the ramp begins with 0"


def test_a_step_hands_over_the_gradients_of_its_own_pass() -> None:
    """And costs two passes more: three of the training batch in the weights' half."""
    net = pair_net(executor="torch", layers=6).float()
    step = BilevelStep(net, ImageClassification(10), method=MethodConfig(regularisers=["layer_alignment"]), epochs=4)
    train = torch.randn(4, 1, 8, 8), torch.randint(0, 10, (4,))
    step.prepare(3, 0)
    seen: list[Any] = []
    (part,) = step.method.regularisers
    weights = part.weights
    part.weights = lambda problem: (seen.append(problem), weights(problem))[1]
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    handle = net.register_forward_hook(count)
    step.weight_gradients(train)
    handle.remove()
    assert passes == 3
    (problem,) = seen
    leaves = problem.leaves()
    with torch.random.fork_rng():
        expected = torch.autograd.grad(problem.loss("train", leaves), leaves.p)
    for slope, g in zip(problem.slopes, expected, strict=True):
        torch.testing.assert_close(slope, g)
    assert float(part.factor) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularisers": [{"name": "layer_alignment", "score": "cor"}]}, "layer_alignment 'cor'; did you mean"),
        ({"regularisers": [{"name": "layer_alignment", "eps": 0}]}, "layer_alignment: eps=0 must be above 0"),
        ({"regularisers": ["layer_alignment"], "sampler": "uniform"},
         "method.sampler=uniform does not go with method.regularisers=layer_alignment"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_network_without_two_cells_of_a_kind_is_one_line() -> None:
    with pytest.raises(SupernetError, match="compares cells that read one table of alphas, and this network"):
        bound(LayerAlignment(), pair_net(layers=3))
