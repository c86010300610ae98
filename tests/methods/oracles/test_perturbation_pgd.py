"""The worst mixing weights: against the corners of the box, as published in its clip, and back where nothing rises."""
# E edges, O operations

from itertools import product

import pytest
import torch
from torch import Tensor

from supernet.config import MethodConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.methods import Clock, Method
from supernet.methods.perturbation.pgd import PGD, clip
from supernet.network.mixture import Mixture
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from tests.support.mixtures import bound, pair_net, problem_on

LAST = Clock(step=3, epoch=3, epochs=4)


def of_first(mixture: Mixture) -> Tensor:
    """p [E, O] of the first site, a normal cell."""
    return mixture.p[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_it_finds_the_best_corner_of_the_box(sign: int) -> None:
    """Of two operations whose slopes point apart no corner gives more, and the scaling of rows changes nothing."""
    net, eps = pair_net(), 0.03 + 0.27 * 3 / 4
    slope = sign * torch.tensor([[1.0, -2.0], [-0.5, 1.0]], dtype=torch.float64)

    def loss(p: Tensor) -> Tensor:
        return (slope * p).sum()

    q = of_first(bound(PGD(), net, LAST)(problem_on(net, lambda mixture: loss(of_first(mixture)))))
    p = of_first(net.mixture()).detach()
    corners = torch.tensor(list(product((-eps, eps), repeat=4)), dtype=torch.float64).reshape(-1, 2, 2)
    best = max(float(loss(clip(p + corner, p, torch.ones_like(p, dtype=torch.bool)))) for corner in corners)
    assert float(loss(q)) == pytest.approx(best, abs=1e-6)
    half = bound(PGD(eps_end=0.15), net, LAST)(problem_on(net, lambda mixture: loss(of_first(mixture))))
    assert float(loss(of_first(half))) < best - 0.1, "half the width would be noticed"


def test_the_loss_never_falls_and_is_left_where_it_cannot_rise() -> None:
    net = pair_net()
    p = of_first(net.mixture()).detach()

    def peak(mixture: Mixture) -> Tensor:
        return -((of_first(mixture) - p) ** 2).sum()

    q = bound(PGD(), net, LAST)(problem_on(net, peak))
    assert torch.equal(of_first(q), p), "back at p to the bit"
    for step in range(3):
        part = bound(PGD(), net, Clock(step=step, epoch=3, epochs=4))
        problem = problem_on(net, lambda mixture: torch.sin(9 * of_first(mixture)).sum())
        assert problem.loss("train", part(problem)) >= problem.loss("train")


def test_the_clip_is_the_published_one() -> None:
    p = torch.tensor([[0.25, 0.25, 0.5], [0.2, 0.3, 0.5], [0.5, 0.5, 0.0]], dtype=torch.float64)
    runs = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    x = torch.tensor([[-0.1, 0.3, 1.2], [-0.2, -0.1, -0.3], [0.1, 0.3, 9.0]], dtype=torch.float64)
    expected = torch.tensor([[0, 0.3 / 1.3, 1 / 1.3], [0, 1, 0], [0.25, 0.75, 0]], dtype=torch.float64)
    torch.testing.assert_close(clip(x, p, runs), expected, rtol=1e-12, atol=1e-12)
    weighed = clip(x, p / 2, runs)
    torch.testing.assert_close(weighed, expected / 2, rtol=1e-12, atol=1e-12)


def test_cells_share_it_and_the_network_is_left_as_it_was() -> None:
    """On a real batch: no statistic moves before the weights' own pass, and the alphas' half sees p itself."""
    net = pair_net(executor="torch", layers=4).float()
    config = MethodConfig(perturbation={"name": "pgd", "steps": 2})
    step = BilevelStep(net, ImageClassification(10), method=config, weights=WeightConfig(), epochs=4)
    train = torch.randn(4, 1, 8, 8), torch.randint(0, 10, (4,))
    step.prepare(3, 1)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    problem = step.problem("weights", train)
    assert step.method.perturbation is not None
    mixture = step.method.perturbation(problem)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(w.requires_grad and w.grad is None for w in step.weights)
    normal = [p for p, site in zip(mixture.p, net.sites, strict=True) if site == "normal"]
    assert len(normal) == 2
    assert torch.equal(*normal)
    assert not torch.equal(normal[0], net.mixture().p[0])
    torch.testing.assert_close(normal[0].sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perturbation": {"name": "pgd", "steps": 0}}, "perturbation pgd: steps=0 must be 1 or more"),
        ({"perturbation": {"name": "pgd", "eps": -1}}, "perturbation pgd: eps=-1 must be 0 or more"),
        ({"perturbation": "pgd", "sampler": "uniform"},
         "method.sampler=uniform does not go with method.perturbation=pgd: "),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)
