"""The proximal step on groups of weights: against a search, a plain loop, and what is left at the end."""
# E edges, O operations

from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from supernet import Choice
from supernet.config import MethodConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.methods.after_update.group_step import shrinkage
from supernet.methods.groups import groups_of
from supernet.network import Supernet
from supernet.space import Space
from supernet.space.layers import Linear
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from tests.support.mixtures import pair_net

OPERATIONS = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")
PARTS: dict[str, Any] = {"relaxation": "unweighted", "hypergradient": "none", "selector": "group_norm"}


@pytest.mark.parametrize("mu", [0.5, 2.0, 30.0])
def test_the_closest_point_is_the_minimum_along_the_group(mu: float) -> None:
    """argmin over x of |x - b|^2 / 2 + mu |x| / sqrt(d) lies on the line of b, at the share that a search finds."""
    generator = torch.Generator().manual_seed(0)
    group = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 2), (4,))]
    norm = float(torch.cat([b.flatten() for b in group]).norm())

    def objective(share: float) -> float:
        return (share - 1) ** 2 * norm**2 / 2 + mu * abs(share) * norm / 10**0.5

    found = minimize_scalar(objective, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).x
    assert float(shrinkage(group, mu)) == pytest.approx(found, abs=1e-6)
    if mu < 30:
        assert abs(float(shrinkage(group, 2 * mu)) - found) > 0.01


def step_of(mu: float, **weights: Any) -> tuple[BilevelStep, tuple[Tensor, Tensor]]:
    net = pair_net(OPERATIONS, executor="torch")
    method = MethodConfig(**PARTS, after_update=[{"name": "group_step", "mu": mu}])
    settings = {"lr": 0.05, "min_lr": 0.05, "momentum": 0.2, "weight_decay": 0.0, "clip": 0.0} | weights
    step = BilevelStep(net, ImageClassification(10), method=method, weights=WeightConfig(**settings), epochs=4)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)
    return step, (images, torch.randint(0, 10, (4,), generator=generator))


def test_two_steps_are_those_of_a_plain_loop() -> None:
    """v <- (1 - rho) v + rho g with rho = .8,  w <- w + eps (prox(w - v) - w), eps = lr / rho, written out."""
    step, train = step_of(1.0)
    names = {id(w): number for number, w in enumerate(step.weights)}
    groups = [[names[id(w)] for w in members] for members in groups_of(step.net).values()]
    free = sorted(set(range(len(step.weights))) - {number for group in groups for number in group})
    v = [torch.zeros_like(w) for w in step.weights]
    for number in range(2):
        before = [w.detach().clone() for w in step.weights]
        step.prepare(0, number)
        step.weight_gradients(train)
        gradients = [w.grad.clone() if w.grad is not None else torch.zeros_like(w) for w in step.weights]
        for w in step.weights:
            w.grad = None
        step(train, None, 0, number)
        v = [0.2 * old + 0.8 * g for old, g in zip(v, gradients, strict=True)]
        for group in [*groups, *([other] for other in free)]:
            b = [before[i] - v[i] for i in group]
            norm = torch.cat([x.flatten() for x in b]).norm()
            size = sum(x.numel() for x in b)
            share = max(1 - 1.0 / (size**0.5 * float(norm)), 0.0) if len(group) > 1 or group[0] not in free else 1.0
            for i, x in zip(group, b, strict=True):
                expected = before[i] + 0.05 / 0.8 * (share * x - before[i])
                torch.testing.assert_close(step.weights[i].detach(), expected, rtol=1e-6, atol=1e-9)


def test_a_group_holds_one_operation_of_all_cells_and_what_has_no_weights_has_a_scale() -> None:
    step, _ = step_of(1.0)
    net, groups = step.net, groups_of(step.net)
    reduces = [site for site, name in enumerate(net.sites) if name == "reduce"]
    assert len(reduces) == 2
    assert len(groups["reduce", 0, 1]) == sum(len(net.body.parameters_of(site, 0, 1)) for site in reduces)
    (scale,) = groups["normal", 1, 0]
    assert scale.shape == (1,), "the identity of normal cells"
    assert float(scale.detach()) == pytest.approx(0.8)
    assert float(net.mixture().p[0][1, 0].detach()) == pytest.approx(0.8)
    assert net.mixture().p[0][1, 1:].tolist() == [1, 1]
    assert all(w.dim() > 1 for w in groups["reduce", 0, 0]), "skips of reduction cells have weights"


def test_a_strong_penalty_leaves_nothing_and_the_strongest_is_selected() -> None:
    step, train = step_of(1e6, lr=1.0, min_lr=1.0, momentum=0.0)
    step(train, None, 0, 0)
    assert all(torch.equal(w, torch.zeros_like(w)) for members in groups_of(step.net).values() for w in members)
    assert any(bool(w.any()) for w in step.weights), "stem and head stay"
    with torch.no_grad():
        for w in groups_of(step.net)["normal", 0, 2]:
            w.fill_(0.1)
    strengths = step.method.selector.strengths(step.net)["normal"]  # type: ignore[operator]
    assert strengths == [[0, 0, pytest.approx(0.1)], [0, 0, 0]]
    chosen = step.net.space.active(step.method.present(step.net))["normal"]
    assert (0, 2) in chosen


def test_a_step_that_the_guard_skips_changes_nothing() -> None:
    step, (images, targets) = step_of(1.0)
    before = [w.detach().clone() for w in step.weights]
    step.prepare(0, 0)
    problem = step.problem("weights", (images, targets))
    (part,) = step.method.after_update
    part.before(problem)
    part(problem)
    assert all(torch.equal(w, b) for w, b in zip(step.weights, before, strict=True))


def test_a_choice_of_values_is_refused_in_one_line() -> None:
    class Net(nn.Module):
        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            width = Choice([2, 4])
            self.one, self.head = Linear(4, width), Linear(width, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.one(x))
            return logits

    net = Supernet(Space(Net), seed=0)
    with pytest.raises(SupernetError, match="no option of decision '.*' of space") as error:
        BilevelStep(net, ImageClassification(3), method=MethodConfig(**PARTS, after_update=["group_step"]))
    assert "\n" not in str(error.value)
