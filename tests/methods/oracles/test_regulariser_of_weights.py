"""Terms on the weights' loss: flooding turns its sign below the level, self-distillation follows a divergence."""
# B batch, K classes

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.config import MethodConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.methods import Method
from supernet.methods.regulariser.flooding import Flooding
from supernet.methods.regulariser.self_distillation import SelfDistillation
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from tests.support.mixtures import bound, pair_net
from tests.support.problems import problem_of

SEED = 3


@pytest.mark.parametrize(("level", "sign"), [(1.0, 1), (50.0, -1)])
def test_flooding_is_the_gradient_of_the_flooded_loss(level: float, sign: int) -> None:
    w = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return (w**2).sum() + w.sum()

    problem = problem_of([w], [], loss, loss, 0.1)
    value = loss()
    value.backward()
    (flooded,) = torch.autograd.grad((loss() - level).abs() + level, w)
    part = Flooding(level)
    more = part.weights(replace(problem, value=value.detach()))
    assert more is not None and w.grad is not None
    torch.testing.assert_close(w.grad + more[0], flooded, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(w.grad + more[0], sign * w.grad, rtol=1e-12, atol=1e-12)


def step_of(name: str, **arguments: Any) -> tuple[BilevelStep, Any, tuple[Tensor, Tensor]]:
    net = pair_net(executor="torch")
    method = MethodConfig(regularisers=[{"name": name, **arguments}])
    step = BilevelStep(net, ImageClassification(10), method=method, weights=WeightConfig(), epochs=4)
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64)
    return step, step.method.regularisers[0], (images, torch.randint(0, 10, (4,), generator=generator))


def shaken(step: BilevelStep, seed: int) -> None:
    """Moves weights and alphas a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in (*step.net.body.parameters(), *step.net.alphas()):
            w += 0.1 * torch.randn(w.shape, generator=generator, dtype=w.dtype)


def end_epoch(part: SelfDistillation, step: BilevelStep) -> None:
    class Look:
        net = step.net

    part.end_epoch(Look())  # type: ignore[arg-type]


def test_teachers_that_are_the_network_itself_teach_nothing() -> None:
    step, part, train = step_of("self_distillation", teachers=2)
    step.prepare(1, 0)
    problem = step.problem("weights", train)
    assert all(torch.equal(g, torch.zeros_like(g)) for g in part.weights(problem)), "before an epoch has ended"
    end_epoch(part, step)
    for g in part.weights(problem):
        torch.testing.assert_close(g, torch.zeros_like(g), rtol=0, atol=1e-12)


def test_self_distillation_is_the_gradient_of_the_divergence_to_the_mean_of_the_teachers() -> None:
    """Two of three places are taken; the oldest copy gives way to a fourth."""
    step, part, train = step_of("self_distillation", teachers=3, weight=0.7, temperature=2.0)
    step.prepare(1, 0)
    problem, predictions = step.problem("weights", train), []
    for seed in (1, 2):
        end_epoch(part, step)
        logits, _ = problem.forward("train")
        predictions.append(torch.softmax(logits.detach() / 2.0, 1))
        shaken(step, seed)
    state = {name: value.clone() for name, value in step.net.state_dict().items()}
    got = part.weights(problem)
    after = step.net.state_dict()
    moved = [name for name, value in state.items() if not torch.equal(value, after[name])]
    assert moved == [], "neither weights nor statistics"
    q = torch.stack(predictions).mean(0)
    logits, _ = problem.forward("train")
    log_p = F.log_softmax(logits / 2.0, 1)
    divergence = (q * (q.log() - log_p)).sum(1).mean()
    expected = problem.gradient(0.7 * 4.0 * divergence, problem.weights)
    flat, other = (torch.cat([g.flatten() for g in gradients]) for gradients in (got, expected))
    assert float(other.norm()) > 1e-3
    torch.testing.assert_close(flat, other, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(flat, 2 * other, rtol=1e-2)
    for seed in (3, 4):
        end_epoch(part, step)
        shaken(step, seed)
    assert torch.equal(part.there, torch.ones(3, dtype=torch.float64))
    kept = torch.cat([state[name].flatten() for name, _ in step.net.body.named_parameters(prefix="body")])
    assert torch.equal(part.copies[1][: kept.numel()], kept), "the copy before the last one"
    assert {"regularisers.0.copies", "regularisers.0.there"} <= set(step.state_dict()["parts"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularisers": [{"name": "flooding", "level": -1}]}, "flooding: level=-1 must be 0 or more"),
        ({"regularisers": [{"name": "self_distillation", "teachers": 0}]}, "teachers=0 must be 1 or more"),
        ({"regularisers": ["flooding", "layer_alignment"]},
         "method.regularisers=flooding does not go with method.regularisers=layer_alignment"),
        ({"regularisers": ["flooding"], "watchers": ["gradient_agreement"]},
         "method.regularisers=flooding does not go with method.watchers=gradient_agreement"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_flooding_needs_a_level() -> None:
    assert float(bound(Flooding(0.3), pair_net()).level) == pytest.approx(0.3)
