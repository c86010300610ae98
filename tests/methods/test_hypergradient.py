"""Hypergradients: the implicit term against central differences of the true objective, and what no call may touch."""
# E edges, O operations; J(a) = L_val(w'(a), a) with w' the virtual step of SGD with momentum and weight decay

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.methods import HYPERGRADIENTS, Estimate, Problem
from supernet.methods.hypergradient.finite_difference import FiniteDifference
from supernet.network import EXECUTORS, Supernet
from supernet.network.freezing import frozen_statistics
from supernet.space import get_space
from tests.support.covering import sampled
from tests.support.problems import problem_of, with_val_loss

SECOND_ORDER = ["exact", "finite_difference"]
IMPLICIT = ["conjugate_gradient", "neumann"]  # a response of the weights, without a virtual step of them
OTHERWISE = ["ascent", "mixed_level"]  # their direct term is more than the validation loss's gradient
DIFFERENCES = ["finite_difference", "ascent", *IMPLICIT]

HERE = [name for name in EXECUTORS if name != "cuda"]  # that serve tensors on the processor

# Without that of methods that have none, and of those with one loss, whose step is another (test_alpha_optimisers.py).
LEARNING = [n for n in HYPERGRADIENTS if HYPERGRADIENTS[n].learns and not HYPERGRADIENTS[n].single_level]


class Smooth(nn.Module):
    """Two mixed layers of four smooth operations each; the losses have curvature everywhere."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64) / 2)

        self.w = nn.ParameterList([draw(5, 6), draw(6, 6), draw(6, 6), draw(6, 3)])
        self.a = nn.ParameterList([draw(1, 4), draw(1, 4)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x @ self.w[0])
        for w, a in zip(self.w[1:3], self.a, strict=True):
            p = torch.softmax(a, -1)[0]
            x = p[0] * torch.tanh(x @ w) + p[1] * x + p[2] * F.softplus(x @ w.T) + p[3] * torch.sin(x)
        return x @ self.w[3]


def smooth_problem(lr: float = 0.3, momentum: float = 0.9, weight_decay: float = 0.05) -> tuple[Problem, Smooth]:
    """Step size, momentum, buffers and weight decay are all far from zero."""
    net, generator = Smooth(), torch.Generator().manual_seed(1)
    batches = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (2, 8), generator=generator)
    buffers = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in net.w]

    def loss(i: int) -> Callable[[], Tensor]:
        return lambda: F.cross_entropy(net(batches[i]), targets[i])

    return problem_of(list(net.w), list(net.a), loss(0), loss(1), lr, momentum, weight_decay, buffers), net


def objective(problem: Problem, alphas: list[Tensor] | None = None, direct_only: bool = False) -> float:
    """J at other alphas, the virtual step written out; `direct_only` keeps w' as it is at the present ones."""
    own_a = [a.detach().clone() for a in problem.alphas]
    own_w = [w.detach().clone() for w in problem.weights]

    def put(tensors: Any, values: Any) -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)

    if alphas is not None and not direct_only:
        put(problem.alphas, alphas)
    slope = torch.autograd.grad(problem.loss("train"), problem.weights)
    stepped = []
    for w, g, b in zip(own_w, slope, problem.momentum_buffers, strict=True):
        new_buffer = problem.momentum * b + (g + problem.weight_decay * w)
        stepped.append(w - problem.lr * new_buffer)
    put(problem.weights, stepped)
    if alphas is not None:
        put(problem.alphas, alphas)
    value = problem.loss("val").item()
    put(problem.weights, own_w), put(problem.alphas, own_a)
    return value


def central(problem: Problem, direct_only: bool = False, h: float = 3e-4) -> Tensor:
    """dJ/da by differences of fourth order, one alpha at a time, all tables in one vector."""
    found = []
    for t, table in enumerate(problem.alphas):
        for i in range(table.numel()):

            def shifted(s: float, t: int = t, i: int = i) -> float:
                alphas = [a.detach().clone() for a in problem.alphas]
                alphas[t].view(-1)[i] += s * h
                return objective(problem, alphas, direct_only)

            found.append((8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * h))
    return torch.tensor(found, dtype=torch.float64)


def flat(tensors: list[Tensor] | None) -> Tensor:
    assert tensors is not None
    return torch.cat([t.detach().flatten() for t in tensors])


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


def test_the_oracle_steps_as_sgd_does() -> None:
    """The virtual step is one of torch's SGD, whose buffers it takes; without a buffer it is SGD's first step."""
    for steps in (0, 3):
        problem, _ = smooth_problem()
        sgd = torch.optim.SGD(list(problem.weights), lr=0.3, momentum=0.9, weight_decay=0.05)
        for _ in range(steps):
            sgd.zero_grad(), problem.loss("train").backward(), sgd.step()
        buffers = [sgd.state[w].get("momentum_buffer") for w in problem.weights]
        problem = replace(problem, momentum_buffers=[None if b is None else b.clone() for b in buffers])
        slope = list(torch.autograd.grad(problem.loss("train"), problem.weights))
        virtual = problem.virtual_weights(slope)
        sgd.zero_grad(), problem.loss("train").backward(), sgd.step()
        for w, v in zip(problem.weights, virtual, strict=True):
            torch.testing.assert_close(v, w.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"lr": 0.1}, {"lr": 1.0, "weight_decay": 0.2}, {"momentum": 0.5}])
def test_exact_is_the_gradient_of_the_true_objective(settings: dict[str, float]) -> None:
    """The implicit term alone, and the direct one alone, each to 1e-6."""
    problem, _ = smooth_problem(**settings)
    estimate = HYPERGRADIENTS["exact"]()(problem)
    total, direct = central(problem), central(problem, direct_only=True)
    implicit = total - direct
    assert implicit.norm() > 0.02 * direct.norm(), "the implicit term must not drown"
    assert error(flat(estimate.implicit), implicit) <= 1e-6
    assert error(flat(estimate.direct), direct) <= 1e-6
    assert error(flat(estimate.total), total) <= 1e-6
    assert estimate.val_loss.item() == pytest.approx(objective(problem), rel=1e-12)


def test_a_factor_or_a_forgotten_part_is_seen() -> None:
    """The oracle tells apart what implementations get wrong: a factor of two, a sign, no momentum, no weight decay."""
    problem, _ = smooth_problem()
    expected = central(problem) - central(problem, direct_only=True)
    right = flat(HYPERGRADIENTS["exact"]()(problem).implicit)
    wrong = {
        "twice": 2 * right, "half": right / 2, "sign": -right, "nothing": 0 * right,
        "no momentum": flat(HYPERGRADIENTS["exact"]()(replace(problem, momentum=0.0)).implicit),
        "no weight decay": flat(HYPERGRADIENTS["exact"]()(replace(problem, weight_decay=0.0)).implicit),
        "no buffers": flat(HYPERGRADIENTS["exact"]()(replace(problem, momentum_buffers=[None] * 4)).implicit),
        "other step": flat(HYPERGRADIENTS["exact"]()(replace(problem, lr=0.31)).implicit),
    }  # fmt: skip
    for name, value in wrong.items():
        assert error(value, expected) > 1e-2, name
    coarse = flat(FiniteDifference(r=1e-2)(problem).implicit)
    assert error(2 * coarse, right) > 0.5 and error(coarse / 2, right) > 0.4


def test_finite_differences_approach_the_exact_term_with_the_square_of_r() -> None:
    problem, _ = smooth_problem()
    exact = HYPERGRADIENTS["exact"]()(problem)
    assert error(flat(FiniteDifference(r=1e-2)(problem).implicit), flat(exact.implicit)) <= 1e-2
    errors = [error(flat(FiniteDifference(r=r)(problem).implicit), flat(exact.implicit)) for r in (0.2, 0.1, 0.05)]
    for coarse, fine in pairwise(errors):
        assert 3.5 < coarse / fine < 4.5, errors
    assert FiniteDifference().r == 1e-2
    torch.testing.assert_close(flat(FiniteDifference()(problem).direct), flat(exact.direct), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LEARNING if name not in OTHERWISE])
def test_direct_term_is_autograd_at_its_weights(name: str) -> None:
    """At the virtual weights, or at the present ones for first order."""
    problem, _ = smooth_problem()
    part = HYPERGRADIENTS[name]()
    estimate = part(problem)
    slope = list(torch.autograd.grad(problem.loss("train"), problem.weights))
    weights = problem.virtual_weights(slope) if name in SECOND_ORDER else problem.weights
    with problem.at([w.detach().clone() for w in weights]):
        direct = torch.autograd.grad(problem.loss("val"), problem.alphas)
    torch.testing.assert_close(flat(estimate.direct), flat(list(direct)), rtol=1e-12, atol=1e-14)
    assert (estimate.implicit is None) == (not part.uses_training_batch)
    assert torch.equal(
        flat(estimate.total), flat(estimate.direct) + (flat(estimate.implicit) if estimate.implicit else 0)
    )


@pytest.mark.parametrize("name", LEARNING)
def test_a_call_touches_nothing(name: str) -> None:
    """Weights, alphas and buffers keep their bits, no .grad appears, and all parameters need gradients again."""
    problem, net = smooth_problem()
    before = [t.detach().clone() for t in (*net.parameters(), *problem.momentum_buffers)]
    HYPERGRADIENTS[name]()(problem)
    after = [*net.parameters(), *problem.momentum_buffers]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("name", LEARNING)
def test_a_failing_loss_leaves_the_weights_as_they_were(name: str) -> None:
    """An interrupt or an out-of-memory error inside the step must not leave virtual weights behind."""
    problem, net = smooth_problem()
    before = [p.detach().clone() for p in net.parameters()]

    def fail() -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HYPERGRADIENTS[name]()(with_val_loss(problem, fail))
    assert all(torch.equal(p, b) and p.requires_grad for p, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("name", [*SECOND_ORDER, *IMPLICIT, "ascent"])
def test_a_validation_loss_without_slope_gives_no_implicit_term(name: str) -> None:
    """v = 0, so that eps = r / |v| must not become infinite."""
    problem, net = smooth_problem()
    estimate = HYPERGRADIENTS[name]()(with_val_loss(problem, lambda: 0 * sum(p.sum() for p in net.parameters())))
    assert torch.equal(flat(estimate.total), torch.zeros(8, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in LEARNING if name != "mixed_level"])
def test_a_loss_that_depends_on_nothing_has_no_gradient(name: str) -> None:
    """As where a sampler draws "none" for every edge: what is computed then has no graph at all."""
    problem, _ = smooth_problem()
    estimate = HYPERGRADIENTS[name]()(with_val_loss(problem, lambda: torch.tensor(2.3, dtype=torch.float64)))
    assert torch.equal(flat(estimate.total), torch.zeros(8, dtype=torch.float64))


def darts_problem(executor: str, seed: int = 0) -> tuple[Problem, Supernet]:
    """A small DARTS supernet in float64 with all that the estimates may touch."""
    net = Supernet(get_space("darts", nodes=2), executor=executor, seed=seed, channels=2, layers=3).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.copy_(torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (2, 4), generator=generator)
    buffers = [0.1 * torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in net.weights()]
    losses = [lambda i=i: F.cross_entropy(net(x[i]), y[i]) for i in (0, 1)]
    return problem_of(net.weights(), net.alphas(), *losses, 0.1, 0.9, 3e-4, buffers), net


def on_darts(name: str, executor: str) -> tuple[Estimate, Supernet, dict[str, Tensor]]:
    problem, net = darts_problem(executor)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    if HYPERGRADIENTS[name]().double_backward:
        net.require_double_backward(name)
    with frozen_statistics(net):
        return HYPERGRADIENTS[name]()(problem), net, before


@pytest.mark.parametrize("name", sampled(LEARNING, 3))
def test_executors_agree_on_a_real_supernet(name: str) -> None:
    expected, _, _ = on_darts(name, "reference")
    assert expected.implicit is None or flat(expected.implicit).norm() > 1e-6
    for executor in HERE:
        part = HYPERGRADIENTS[name]()
        if part.double_backward and not EXECUTORS[executor]().double_backward:
            continue
        got, _, _ = on_darts(name, executor)
        # The difference of two gradients over 2 eps loses digits where a ReLU or a maximum switches between the sides.
        bound = 1e-6 if name in DIFFERENCES else 1e-8
        assert error(flat(got.direct), flat(expected.direct)) <= (bound if name in OTHERWISE else 1e-8)
        if expected.implicit is not None:
            assert error(flat(got.implicit), flat(expected.implicit)) <= bound


@pytest.mark.parametrize("executor", HERE)
@pytest.mark.parametrize("name", LEARNING)
def test_a_real_supernet_keeps_every_bit(name: str, executor: str) -> None:
    """Under frozen statistics all of the state dict, running statistics and their counters among it."""
    _, net, before = on_darts(name, executor)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    net(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    moved = [k for k, v in net.state_dict().items() if not torch.equal(v, before[k])]
    assert moved and all("running" in k or "num_batches" in k for k in moved), "afterwards statistics move again"


def test_frozen_statistics_survive_nan_and_errors() -> None:
    """A batch that overflows leaves no NaN in the statistics, and an error inside does not leave them frozen."""
    norm = nn.BatchNorm2d(2, momentum=None)
    norm(torch.randn(3, 2, 4, 4))
    before = {k: v.clone() for k, v in norm.state_dict().items()}

    def fail() -> None:
        with frozen_statistics(norm):
            assert norm(torch.full((3, 2, 4, 4), float("nan"))).isnan().all()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())
    norm(torch.randn(3, 2, 4, 4))
    assert norm.num_batches_tracked == 2 and norm.momentum is None


@pytest.mark.parametrize("executor", HERE)
def test_frozen_statistics_normalise_by_the_batch(executor: str) -> None:
    _, net = darts_problem(executor)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with frozen_statistics(net):
        frozen = net(x)
    torch.testing.assert_close(frozen, net(x), rtol=1e-12, atol=1e-12)
    net.eval()
    with frozen_statistics(net):
        assert torch.equal(net(x), net(x))
        frozen = net(x)
    assert torch.equal(frozen, net(x))


# The fused operators' backwards: where their weights stand, and whether gradients of weights are wanted.
FUSED = {"supernet.edge_group_bwd.default": (1, 9), "supernet.sep_second_bwd.default": (5, 10)}


class WeightGradients(TorchDispatchMode):
    """Records, for each backward of a convolution, norm or linear layer, whether it gives a weight's gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        out = func(*args, **(kwargs or {}))
        if "convolution_backward" in name:
            self.seen.append(("convolution", bool(args[-1][1] or args[-1][2])))
        elif "batch_norm_backward" in name:
            self.seen.append(("norm", bool(args[-1][1] or args[-1][2])))
        elif name in FUSED:
            weights, flag = FUSED[name]
            self.seen += [("fused", args[flag])] * len(args[weights])
        return out


@pytest.mark.parametrize("executor", HERE)
def test_first_order_computes_no_weight_gradient(executor: str) -> None:
    """Not computed and thrown away: not computed. The full backward, for comparison, computes them."""
    problem, net = darts_problem(executor)
    assert any(isinstance(m, nn.BatchNorm2d) and m.affine for m in net.modules())
    with WeightGradients() as first:
        HYPERGRADIENTS["first_order"]()(problem)
    fused = {"fused"} if executor == "cpu" else set()
    assert {kind for kind, _ in first.seen} == {"convolution", "norm"} | fused
    assert not any(computed for _, computed in first.seen)
    with WeightGradients() as full:
        torch.autograd.grad(problem.loss("val"), problem.weights)
    assert sum(computed for _, computed in full.seen) > 100


def test_parts_without_state_say_so() -> None:
    for name in HYPERGRADIENTS:
        part: Any = HYPERGRADIENTS[name]()
        assert part.state_dict() == {}
        part.load_state_dict({})
        with pytest.raises(RuntimeError, match="Unexpected key"):
            part.load_state_dict({"x": random.random()})
