"""What steps the alphas: mirror descent in closed form, rescaled pairs, bounds; one level; refusals in one line."""
# E edges, O operations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.config import AlphaConfig, GuardConfig, MethodConfig, SearchConfig
from supernet.errors import SupernetError
from supernet.methods import Method
from supernet.methods.alpha_optimiser.clipped_adam import ClippedAdam
from supernet.methods.alpha_optimiser.exp_gradient import ExpGradient
from supernet.methods.alpha_optimiser.rescaled_adam import RescaledAdam
from supernet.network import Supernet
from supernet.runtime.guard import Guard
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep
from tests.support.replaying import NotedGraphs

Batch = tuple[Tensor, Tensor]


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny() -> Supernet:
    return Supernet(get_space("darts", nodes=1), executor="reference", seed=0, channels=2, layers=1, in_chans=1)


def batches(seed: int = 0) -> tuple[Batch, Batch]:
    images = numbers(seed, 2, 2, 1, 8, 8).float()
    return (images[0], torch.tensor([1, 2])), (images[1], torch.tensor([3, 4]))


def step_of(alphas: AlphaConfig | None = None, **parts: Any) -> BilevelStep:
    net = tiny()
    guard = Guard(GuardConfig(skips=3), net, torch.device("cpu"), waits=False)
    method = MethodConfig(**parts)
    return BilevelStep(net, ImageClassification(10), method=method, alphas=alphas, guard=guard, epochs=4)


# ---------------------------------------------------------------------------------------------------------------- GAEA


def test_an_exponentiated_gradient_is_mirror_descent_and_does_not_see_a_constant() -> None:
    """argmin over the simplex of eta <g, p> + KL(p || p_0) = softmax(log p_0 - eta g)."""
    start, g = torch.softmax(numbers(0, 3, 5), -1), numbers(1, 3, 5)
    steps = []
    for shift in (0.0, 7.0):
        p = nn.Parameter(start.clone())
        optimizer = ExpGradient().make([p], AlphaConfig(lr=0.1, weight_decay=0.0))
        for _ in range(2):
            p.grad = g + shift
            optimizer.step()
        steps.append(p.detach())
    torch.testing.assert_close(steps[0], torch.softmax(start.log() - 2 * 0.1 * g, -1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-10, atol=1e-12)


def test_no_weight_falls_to_nothing_and_a_skipped_step_changes_none() -> None:
    p = nn.Parameter(torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    optimizer: Any = ExpGradient().make([p], AlphaConfig(lr=1.0, weight_decay=0.0))
    p.grad = torch.tensor([[100.0, 0.0]], dtype=torch.float64)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert p.tolist() == [[0.5, 0.5]]
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert p[0, 0].item() == pytest.approx(1e-5 / (0.5 + 1e-5))


# -------------------------------------------------------------------------------------------------------- ProxylessNAS


def test_a_rescaled_step_keeps_the_weights_of_what_was_not_drawn() -> None:
    alpha = nn.Parameter(numbers(2, 2, 5))
    before = alpha.detach().clone()
    part = RescaledAdam()
    optimizer = part.make([alpha], AlphaConfig(lr=0.3, weight_decay=0.0, beta1=0.0))
    for drawn in ([0, 3], [3, 4]):
        alpha.grad = torch.zeros_like(alpha)
        alpha.grad[0, drawn] = torch.tensor([1.0, -2.0], dtype=torch.float64)
        part.before_step([alpha])
        optimizer.step()
        part.after_step([alpha])
    assert torch.equal(alpha[0, 1:3].detach(), before[0, 1:3])
    assert torch.equal(alpha[1].detach(), before[1])
    assert not torch.isclose(alpha[0, 0], before[0, 0])
    torch.testing.assert_close(alpha.detach().exp().sum(-1), before.exp().sum(-1), rtol=1e-12, atol=0)
    p, q = torch.softmax(before, -1), torch.softmax(alpha.detach(), -1)
    torch.testing.assert_close(q[0, 1:3], p[0, 1:3], rtol=1e-12, atol=0)


def test_a_clipped_step_is_that_of_adam_within_its_bounds() -> None:
    start, g = numbers(3, 2, 4).sigmoid(), numbers(4, 2, 4)
    alpha, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    config = AlphaConfig(lr=0.5)
    part = ClippedAdam(0.0, 1.0)
    from supernet.methods.optimizers import adam

    for parameter, optimizer in ((alpha, part.make([alpha], config)), (plain, adam([plain], config))):
        parameter.grad = g.clone()
        optimizer.step()
    part.after_step([alpha])
    assert bool((plain < 0).any()) and bool((plain > 1).any())
    torch.testing.assert_close(alpha.detach(), plain.detach().clamp(0, 1))


# ----------------------------------------------------------------------------------------------------------- one level


def test_one_backward_gives_the_gradients_of_weights_and_alphas() -> None:
    parts = {"sampler": {"name": "gumbel"}, "hypergradient": "single_level"}
    step = step_of(**parts)
    train, val = batches()
    step.prepare(0, 0)
    passes = []
    step.net.body.register_forward_hook(lambda *_: passes.append(1))
    run = step.net.body.run
    step.net.body.run = lambda *arguments: passes.append(1) or run(*arguments)  # type: ignore[method-assign, func-returns-value]
    taken: dict[str, list[Tensor]] = {}
    for name, parameters, optimizer in (
        ("alphas", step.alphas, step.alpha_optimizer),
        ("weights", step.weights, step.weight_optimizer),
    ):
        before = [p.detach().clone() for p in parameters]
        taken[f"{name} before"] = before
        optimizer.register_step_pre_hook(
            lambda *_, name=name, parameters=parameters: (
                taken.setdefault(name, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters])
                and None
            )
        )
    mixture = step.method.mixture(step.net, "alphas")
    loss = torch.nn.functional.cross_entropy(step.net(train[0], mixture), train[1])
    passes.clear()
    exact = torch.autograd.grad(loss, [*step.alphas, *step.weights], allow_unused=True)
    sums = step.run(train, val)
    assert len(passes) == 1, "one pass for both"
    assert set(sums) == {"train"}
    for gradient, other in zip(exact, [*taken["alphas"], *taken["weights"]], strict=True):
        torch.testing.assert_close(other, torch.zeros_like(other) if gradient is None else gradient)
    for name, parameters in (("alphas", step.alphas), ("weights", step.weights)):
        assert any(not torch.equal(p, before) for p, before in zip(parameters, taken[f"{name} before"], strict=True))
    alphas = [alpha.detach().clone() for alpha in step.alphas]
    step.run(train, None)
    assert all(torch.equal(a, b) for a, b in zip(alphas, step.alphas, strict=True)), "in a warm-up alphas rest"


# -------------------------------------------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("parts", [
    {"sampler": {"name": "gumbel"}, "hypergradient": "single_level", "relaxation": "temperature",
     "regularisers": ["entropy", {"name": "expected_cost", "form": "log"}]},
    {"sampler": "two_paths", "alpha_optimiser": "rescaled_adam", "regularisers": ["zero_one"]},
    {"sampler": "support", "relaxation": "sparse_code", "selector": "support"},
    {"sampler": "top1", "relaxation": "identity", "alpha_optimiser": "clipped_adam"},
    {"sampler": "max_of_draws", "relaxation": "simplex", "alpha_optimiser": "exp_gradient"},
], ids=["one level", "pairs", "sparse code", "projection", "simplex"])  # fmt: skip
def test_a_replayed_step_has_the_same_bits(parts: dict[str, Any]) -> None:
    states = []
    for graphs in (None, NotedGraphs()):
        step = step_of(AlphaConfig(weight_decay=0.0, beta1=0.0), **parts)
        stepper = CapturedStep(step, graphs=graphs)
        step.method.gates_on_device = True
        for number in range(5):
            stepper(*batches(number), number // 2, number)
        assert stepper.captured is (graphs is not None), stepper.why_not
        states.append({**step.net.state_dict(), **dict(step.method.state_dict())})
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hypergradient": "single_level", "perturbation": "random"}, "hypergradient=single_level does not go with"),
        ({"hypergradient": "single_level", "watchers": ["eigenvalue"]}, "method.watchers=eigenvalue: there is no val"),
        ({"sampler": "fair", "perturbation": "random"}, "method.sampler=fair does not go with method.perturbation"),
        ({"relaxation": "sigmoid", "regularisers": ["beta_decay"]}, "relaxation=sigmoid does not go with"),
        ({"relaxation": "sigmoid", "regularisers": ["entropy"]}, "method.regularisers=entropy: the rows do not sum"),
        ({"relaxation": "sparse_code"}, "its weights may be negative, which method.selector=support heeds"),
        ({"relaxation": "sparse_code", "selector": "support", "sampler": "gumbel"}, "sampler=gumbel: its weights"),
        ({"relaxation": "simplex"}, "method.relaxation=simplex does not go with method.alpha_optimiser=adam"),
        ({"alpha_optimiser": "exp_gradient"}, "exp_gradient does not go with method.relaxation=softmax"),
        ({"relaxation": "simplex", "alpha_optimiser": "exp_gradient", "connectors": ["edge_normalisation"]},
         "method.connectors=edge_normalisation: the step keeps rows that sum to 1"),
        ({"relaxation": "simplex", "alpha_optimiser": "exp_gradient", "regularisers": ["beta_decay"]},
         "method.regularisers=beta_decay: a term for logits"),
        ({"relaxation": "stable_rank"}, "relaxation=stable_rank does not go with method.hypergradient=first"),
        ({"sampler": "fair", "hypergradient": "none", "regularisers": ["entropy"]}, "what runs does not depend on the"),
        ({"sampler": "fair", "hypergradient": "none", "watchers": ["eigenvalue"]}, "no loss bends with alphas"),
        ({"relaxation": "sparse_code", "selector": "support", "regularisers": ["expected_cost"]}, "may be negative"),
        ({"sampler": "two_paths", "watchers": ["gradient_agreement"]}, "most operations have none at most"),
        ({"connectors": ["entangled"], "watchers": ["gradient_agreement"]}, "operations have no weights of their own"),
        ({"sampler": "top1", "connectors": ["edge_normalisation"]}, "the edges of a node would be weighed twice"),
        ({"sampler": {"name": "reinmax", "tau": 10, "tau_end": 0.1}}, "reinmax: tau_end=0.1 must be 1 or more"),
        ({"sampler": {"name": "max_of_draws", "draws": 1}}, "max_of_draws: draws=1 must be 2 or more"),
        ({"sampler": {"name": "gumbel", "decay": 0.9, "tau_end": 1}}, "decay=0.9 must lie in (0, 1], and takes"),
        ({"relaxation": {"name": "uniform", "of": "rest"}}, "unknown share of relaxation uniform 'rest'"),
        ({"relaxation": {"name": "temperature", "tau": 0}}, "relaxation temperature: tau=0 must be above 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_an_optimiser_cannot_heed_are_refused() -> None:
    with pytest.raises(SupernetError, match=r"alphas.weight_decay=0.001 would not; set alphas.weight_decay=0"):
        ExpGradient().fits(SearchConfig())
    with pytest.raises(SupernetError, match=r"alphas.beta1=0.5 would move them; set alphas.beta1=0"):
        RescaledAdam().fits(SearchConfig(alphas=AlphaConfig(weight_decay=0.0)))
