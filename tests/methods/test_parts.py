"""Parts of methods: formulas against quadrature and enumeration, doors in their order, refusals in one line."""
# E edges, O operations, B batch, C channels, H height, W width

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.config import AlphaConfig, GuardConfig, MethodConfig, SearchConfig, WeightConfig, from_mapping
from supernet.counter import uniform
from supernet.errors import SupernetError
from supernet.methods import GROUPS, Clock, Method
from supernet.methods.compose import make_part
from supernet.methods.connector.edge_normalisation import EdgeNormalisation
from supernet.methods.connector.skip_dropout import SkipDropout
from supernet.methods.noise import Noise
from supernet.methods.sampler.gumbel import Gumbel
from supernet.network import Supernet
from supernet.network.connector import EdgeSite
from supernet.runtime.guard import Guard
from supernet.space import get_space
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep
from tests.support.replaying import NotedGraphs
from tests.support.searches import search_config
from tests.support.toy_parts import CALLS

Batch = tuple[Tensor, Tensor]


def tiny(executor: str = "torch", **arguments: Any) -> Supernet:
    settings = {"channels": 2, "layers": 1, "in_chans": 1} | arguments
    return Supernet(get_space("darts", nodes=2), executor=executor, seed=0, **settings)


def batches(number: int = 0) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 4, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 10, (2, 4), generator=generator)
    return (images[0], targets[0]), (images[1], targets[1])


def step_of(method: MethodConfig, net: Supernet | None = None, **more: Any) -> BilevelStep:
    net = net or tiny()
    guard = Guard(GuardConfig(skips=3), net, torch.device("cpu"), waits=False)
    return BilevelStep(net, ImageClassification(10), method=method, guard=guard, epochs=4, **more)


# ------------------------------------------------------------------------------------------------------------- Gumbel


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_gumbel_softmax_has_the_moments_of_quadrature(tau: float) -> None:
    """With two options the difference of two Gumbel numbers is logistic, whose quantiles are known."""
    p = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    sampler, n = Gumbel(tau=tau), 100_000
    numbers = uniform(0, "test", 0, np.arange(n, dtype=np.int64), 2)
    drawn, gate = sampler(p.expand(n, 2), p.expand(n, 2), torch.from_numpy(sampler.draw(numbers)))
    assert gate is None
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    y = torch.sigmoid((torch.log(p[0, 0] / p[0, 1]) + torch.log(u / (1 - u))) / tau)
    for power in (1, 2):
        values, exact = drawn[:, 0] ** power, (y**power).mean()
        assert abs(values.mean() - exact) < 4 * values.std() / n**0.5
        assert abs(values.mean() - 2 * exact) > 4 * values.std() / n**0.5, "twice the moment would be noticed"


def test_a_hard_draw_takes_each_option_as_often_as_its_weight() -> None:
    p = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64)
    sampler, n = Gumbel(hard=True), 50_000
    numbers = uniform(0, "test", 1, np.arange(n, dtype=np.int64), 3)
    weights, gate = sampler(p.expand(n, 3), p.expand(n, 3), torch.from_numpy(sampler.draw(numbers)))
    assert gate is not None
    assert torch.equal(weights, gate.double()), "the weight of what runs is 1 to the bit"
    assert torch.equal(gate.sum(-1), torch.ones(n, dtype=torch.int64))
    share = gate.double().mean(0)
    assert bool(((share - p[0]).abs() < 4 * (p[0] * (1 - p[0]) / n).sqrt()).all())


def test_the_gradient_of_a_hard_draw_is_that_of_the_drawn_operation() -> None:
    """dL/dalpha = J_y^T (e_k <dL/dout, o_k>), and nothing for the loss of what did not run."""
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(1, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    outputs = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    upstream = torch.randn(5, generator=generator, dtype=torch.float64)
    sampler = Gumbel(tau=3.0, hard=True)
    weights, gate = sampler(torch.softmax(alpha, -1), alpha, noise)
    assert gate is not None
    (gradient,) = torch.autograd.grad((weights[0] @ outputs) @ upstream, alpha)
    y = torch.softmax((torch.log_softmax(alpha.detach(), -1) + noise) / 3.0, -1)[0]
    k = int(gate.int().argmax())
    jacobian = (torch.diag(y) - torch.outer(y, y)) / 3.0
    inner = torch.zeros(4, dtype=torch.float64)
    inner[k] = outputs[k] @ upstream
    torch.testing.assert_close(gradient[0], jacobian @ inner, rtol=1e-10, atol=1e-12)


def test_temperature_and_noise_are_functions_of_the_clock_in_fixed_places() -> None:
    net, sampler = tiny(), Gumbel(tau=10, tau_end=1)
    noise = Noise(net.space.tables, 0, net.alphas()[0])
    place = sampler.tau.data_ptr()
    taus = []
    for epoch in range(4):
        sampler.prepare(Clock(step=epoch, epoch=epoch, epochs=4))
        taus.append(float(sampler.tau))
    assert taus == [10, 7, 4, 1]
    assert sampler.tau.data_ptr() == place
    noise.fill(sampler.draw, 5, "sampler")
    first = [noise.of(half, "reduce").clone() for half in ("alphas", "weights")]  # type: ignore[arg-type]
    assert not torch.equal(*first), "each half has a draw of its own"
    noise.fill(sampler.draw, 6, "sampler")
    noise.fill(sampler.draw, 5, "sampler")
    assert torch.equal(first[0], noise.of("alphas", "reduce"))


def test_a_hard_draw_runs_one_operation_an_edge() -> None:
    net = tiny()
    step = step_of(MethodConfig(sampler={"name": "gumbel", "hard": True}), net)
    step.prepare(0, 0)
    for half in ("alphas", "weights"):
        mixture = step.method.mixture(net, half)  # type: ignore[arg-type]
        for p, mask in zip(mixture.p, mixture.mask, strict=True):
            assert isinstance(mask, tuple), "on a processor the draw picks on the host"
            assert [sum(row) for row in mask] == [1] * len(mask)
            assert torch.equal(p.detach() > 0, torch.tensor(mask))


def test_gates_on_the_device_give_what_masks_on_the_host_do() -> None:
    states = []
    for on_device in (False, True):
        net = tiny()
        step = step_of(MethodConfig(sampler={"name": "gumbel", "hard": True}), net, weights=WeightConfig(momentum=0))
        step.method.gates_on_device = on_device
        for number in range(2):
            step(*batches(number), epoch=0, step=number)
        states.append(net.state_dict())
    alphas = [name for name in states[0] if name.startswith("alpha.")]
    for name in alphas:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("parts", [
    {"sampler": {"name": "gumbel", "tau": 5, "tau_end": 1}},
    {"sampler": {"name": "gumbel", "hard": True}},
    {"connectors": ["edge_normalisation"]},
], ids=["soft draw", "hard draw", "edge normalisation"])  # fmt: skip
def test_a_replayed_step_has_the_same_bits(parts: dict[str, Any]) -> None:
    """As a graph would: new batches, epochs and draws come in through the places that are there."""
    states = []
    for graphs in (None, NotedGraphs()):
        step = step_of(MethodConfig(**parts), tiny("reference"))
        stepper = CapturedStep(step, graphs=graphs)
        step.method.gates_on_device = True
        for number in range(6):
            stepper(*batches(number), number // 2, number)
        assert stepper.captured is (graphs is not None)
        states.append({**step.net.state_dict(), **dict(step.method.state_dict())})
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


# --------------------------------------------------------------------------------------------------------- connectors


def test_edge_normalisation_with_equal_weights_is_the_mean_over_the_edges_of_a_node() -> None:
    net = tiny("reference")
    part = EdgeNormalisation()
    part.bind(net, 0)
    for beta in part.beta.values():
        nn.init.zeros_(beta)
    for table in net.space.tables:
        assert table.targets is not None
        weighed = part(torch.ones(table.shape), table)
        counts = torch.tensor([table.targets.count(node) for node in table.targets])
        torch.testing.assert_close(weighed, (1 / counts)[:, None].expand(table.shape))
    beta = next(iter(part.beta.values()))
    with torch.no_grad():
        beta.copy_(torch.randn(beta.shape))
    weighed = part(torch.ones(table.shape), net.space.tables[0])[:, 0]
    for node in set(table.targets or ()):
        rows = torch.tensor([target == node for target in table.targets or ()])
        torch.testing.assert_close(weighed[rows], torch.softmax(beta[rows], 0))


def test_edge_weights_learn_with_the_alphas_and_decide_with_them() -> None:
    net = tiny()
    step = step_of(MethodConfig(connectors=["edge_normalisation"]), net)
    (part,) = step.method.connectors
    before = {name: beta.detach().clone() for name, beta in part.beta.items()}
    step(*batches(), epoch=0, step=0)
    assert any(not torch.equal(before[name], beta) for name, beta in part.beta.items())
    (table, *_) = net.space.tables
    strength = torch.tensor(net.strengths()[table.name])
    rows = strength.sum(-1)
    assert float(rows.sum()) == pytest.approx(len(set(table.targets or ()))), "one a node"
    assert {f"connectors.0.beta.{name}" for name in before} <= set(step.state_dict()["parts"])  # type: ignore[call-overload]


def test_skip_dropout_keeps_the_mean_and_leaves_the_others() -> None:
    part, x = SkipDropout(rate=0.5, decay=0.5), torch.ones(64, 8, 16, 16)
    part.train()
    outputs = {"skip_connect": x, "sep_conv_3x3": x}
    site = EdgeSite(site=0, table="normal", row=0, source=0, node=2, stride=1)
    for epoch, rate in ((0, 0.5), (1, 0.25)):
        part.prepare(Clock(epoch=epoch, epochs=4))
        dropped = part(site, x, dict(outputs))
        assert dropped["sep_conv_3x3"] is x
        values = dropped["skip_connect"]
        assert abs(float((values == 0).double().mean()) - rate) < 4 * (rate * (1 - rate) / x.numel()) ** 0.5
        assert float(values.mean()) == pytest.approx(1, abs=4 * (rate / (1 - rate) / x.numel()) ** 0.5)
        assert values.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
    part.eval()
    assert part(site, x, outputs) is outputs


def test_skip_dropout_draws_alike_on_both_executors() -> None:
    found = []
    for executor in ("reference", "torch"):
        net = tiny(executor)
        step = step_of(MethodConfig(connectors=[{"name": "skip_dropout", "rate": 0.3}]), net)
        torch.manual_seed(3)
        found.append(step(*batches(), epoch=0, step=0)["train"]["loss"])
    torch.testing.assert_close(*found)


def test_nothing_is_dropped_where_the_network_is_measured() -> None:
    net = tiny()
    step = step_of(MethodConfig(connectors=[{"name": "skip_dropout", "rate": 0.5}]), net)
    step.prepare(0)
    (images, _), _ = batches()
    assert not torch.equal(net(images), net(images)), "in training"
    net.eval()
    torch.testing.assert_close(net(images), net(images), rtol=0, atol=0)
    net.train()
    assert all(part.training for part in step.method.connectors)


# -------------------------------------------------------------------------------------------------------------- doors


def test_every_group_has_its_door_and_they_open_in_order() -> None:
    several = ("connectors", "regularisers", "filters", "after_update", "watchers")
    everything = {group: ["toy"] if group in several else "toy" for group in GROUPS}
    config = from_mapping(MethodConfig, {"name": "all toys", **everything})
    step = step_of(config)
    first = step.weights[0].detach().clone()
    CALLS.clear()
    step(*batches(), epoch=0, step=0)
    order = list(dict.fromkeys(CALLS))
    assert order == [
        "hypergradient", "relaxation", "sampler", "connectors", "regularisers", "alpha_optimiser", "perturbation",
        "filters", "after_update",
    ]  # fmt: skip
    assert torch.equal(step.weights[0], first), "the last door put it back"
    assert {"schedule", "watchers", "selector"} | set(order) == set(GROUPS)


def test_a_regulariser_adds_to_both_gradients() -> None:
    gradients = []
    for weight in (0.0, 0.1, 0.2):
        step = step_of(MethodConfig(regularisers=[{"name": "toy", "weight": weight}]))
        train, val = batches()
        _, alphas, _ = step.alpha_gradients(train, val)
        step.weight_gradients(train)
        gradients.append((alphas[0], step.weights[0].grad))
        values = step.alphas[0].detach(), step.weights[0].detach()
    for (plain, one, two), value in zip(zip(*gradients, strict=True), values, strict=True):
        torch.testing.assert_close(one - plain, 0.1 * value, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(two - plain, 0.2 * value, rtol=1e-3, atol=1e-6)


def test_the_weights_may_come_first() -> None:
    losses = {}
    for order in ("alpha_first", "weight_first"):
        step = step_of(MethodConfig(order=order))
        losses[order] = step(*batches(), epoch=0, step=0)
    assert torch.equal(losses["alpha_first"]["alpha"]["loss"], losses["weight_first"]["alpha"]["loss"]) is False


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relaxation": "sofmax"}, "unknown relaxation 'sofmax'; did you mean 'softmax'"),
        ({"sampler": {"name": "gumbel", "taw": 1}}, "argument of method.sampler=gumbel: 'taw'; did you mean 'tau'"),
        ({"sampler": {"name": "gumbel", "tau": "warm"}}, "tau='warm' of method.sampler=gumbel must be of type"),
        ({"sampler": {"name": "gumbel", "tau": 0}}, "sampler gumbel: tau=0.0 must be above 0"),
        ({"sampler": {"tau": 1}}, "must be the name of a part, or {name: NAME"),
        ({"hypergradient": None}, "method.hypergradient=null: every method has one"),
        ({"hypergradient": {"name": "finite_difference", "r": -1}}, "finite_difference: r=-1 must be above 0"),
        ({"hypergradient": "exact", "sampler": {"name": "gumbel", "hard": True}},
         "method.sampler=gumbel does not go with method.hypergradient=exact"),
        ({"connectors": ["edge_normalisation", "edge_normalisation"]},
         "method.connectors=edge_normalisation does not go with method.connectors=edge_normalisation"),
        ({"sampler": "uniform"}, "method.sampler=uniform does not go with method.hypergradient=first_order"),
        ({"hypergradient": "none", "regularisers": ["beta_decay"]},
         "method.hypergradient=none does not go with method.regularisers=beta_decay"),
        ({"hypergradient": "none", "watchers": ["eigenvalue"]},
         "method.hypergradient=none does not go with method.watchers=eigenvalue"),
        ({"sampler": {"name": "gumbel", "hard": True}, "watchers": ["gradient_agreement"]},
         "method.sampler=gumbel does not go with method.watchers=gradient_agreement"),
        ({"sampler": {"name": "gumbel", "hard": True}, "perturbation": "random"},
         "method.sampler=gumbel does not go with method.perturbation=random"),
        ({"connectors": ["auxiliary_skip", "skip_dropout"]},
         "method.connectors=auxiliary_skip does not go with method.connectors=skip_dropout"),
        ({"connectors": ["entangled"], "after_update": ["group_step"]},
         "method.connectors=entangled does not go with method.after_update=group_step"),
        ({"connectors": ["entangled"], "watchers": ["one_edge"]},
         "method.connectors=entangled does not go with method.watchers=one_edge"),
        ({"order": "both"}, "method.order='both' must be alpha_first or weight_first"),
        ({"alpha_every": 0}, "method.alpha_every=0 must be 1 or more"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError) as error:
        Method(MethodConfig(**settings))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": MethodConfig(sampler="dirichlet", perturbation="random")}, "two kinds of noise"),
        ({"method": MethodConfig(connectors=["auxiliary_skip"], selector="skip_cap")}, "their count means less"),
        ({"method": MethodConfig(connectors=["edge_normalisation"], selector="removal")}, "weighing the others"),
        ({"method": MethodConfig(regularisers=["beta_decay"]), "alphas": AlphaConfig(weight_decay=0)}, "drifting down"),
        ({"method": MethodConfig(regularisers=["beta_decay"], warmup_epochs=2)}, "its factor has risen before"),
        ({"method": MethodConfig(sampler="dirichlet", warmup_epochs=2)}, ""),
    ],
)  # fmt: skip
def test_what_may_surprise_is_said(settings: dict[str, Any], words: str) -> None:
    config = SearchConfig(**settings)
    lines = Method(config.method).fits(config)
    assert len(lines) == bool(words)
    assert words in "".join(lines)


def test_a_part_that_would_never_act_is_one_line() -> None:
    config = SearchConfig(method=MethodConfig(hypergradient="none", watchers=["shapley"]), epochs=25)
    with pytest.raises(SupernetError, match="from epoch first=25 on, and epochs=25: they would never move"):
        Method(config.method).fits(config)


def test_a_part_that_the_space_does_not_take_is_one_line() -> None:
    net = Supernet(get_space("nas_bench_macro"), seed=0, num_classes=4, channels=4, features=8)
    with pytest.raises(SupernetError, match="rows of space 'nas_bench_macro' are no edges"):
        step_of(MethodConfig(connectors=["edge_normalisation"]), net)
    with pytest.raises(SupernetError, match="executor"):
        step_of(MethodConfig(connectors=["skip_dropout"]), tiny("cpu"))


def test_what_does_not_fit_leaves_no_run_folder(tmp_path: Path) -> None:
    method = {"connectors": ["skip_dropout"]}
    config = search_config(tmp_path, "darts", "darts_first_order", method=method, executor="cpu")
    with pytest.raises(SupernetError, match="SkipDropout"):
        run_search(config)
    assert list(tmp_path.iterdir()) == []


def test_arguments_reach_the_part() -> None:
    part = make_part("hypergradient", {"name": "finite_difference", "r": 0.5})
    assert part.r == 0.5
    assert isinstance(make_part("sampler", "gumbel"), Gumbel)
