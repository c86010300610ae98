"""What holds for every zero-cost score: any network, nothing left behind, one seed one value, mistakes in one line."""

import copy
import math
import random
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import Supernet, SupernetError, build, get_space
from supernet.errors import NumbersError
from supernet.evaluate.zero_cost import ZERO_COST, score
from supernet.registry import Registry
from tests.support.zoo_small import SMALL, small_space

SHORT: dict[str, dict[str, Any]] = {"zen": {"repeats": 2}, "linear_regions": {"samples": 60}}
LOWER = {"ntk"}
CELLS = {"darts": {"channels": 2, "layers": 3}, "nasbench201": {"channels": 2, "cells_per_stage": 1}}


@cache
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 2, 1])) for _ in range(2)]


@cache
def network(name: str) -> nn.Module:
    space = small_space(name) if name in SMALL else get_space(name)
    arguments = SMALL[name][1] if name in SMALL else CELLS[name]
    return build(space.sample(random.Random(1)), seed=0, num_classes=3, **arguments)


def state(net: nn.Module) -> list[Any]:
    """All that a score may have touched, tensors as bits."""
    facts: list[Any] = [(name, t.clone(), t.dtype) for name, t in net.state_dict(keep_vars=True).items()]
    facts += [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in net.parameters()]
    for module in net.modules():
        hooks = [v for name, v in vars(module).items() if name.endswith("hooks")]
        facts.append((module.training, [len(v) for v in hooks], sorted(vars(module)), module.extra_repr()))
    return [*facts, torch.get_rng_state()]


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@pytest.mark.parametrize("name", list(ZERO_COST))
def test_finite_repeatable_and_nothing_left_behind(name: str, space: str) -> None:
    net = copy.deepcopy(network(space))
    value = score(name, net, batches(), seed=3, **SHORT.get(name, {}))
    assert isinstance(value, float) and math.isfinite(value)
    # Now as a caller may have it: in use, half frozen, with gradients and hooks, without recording.
    net.train()
    for i, p in enumerate(net.parameters()):
        p.requires_grad_(i % 2 == 0)
        p.grad = torch.full_like(p, float(i)) if p.requires_grad else None
    next(net.children()).eval()
    net.register_forward_hook(lambda module, inputs, output: None)
    torch.manual_seed(99)
    before, inputs = state(net), copy.deepcopy(batches())
    with torch.no_grad():
        again = score(name, net, iter(batches()), seed=3, **SHORT.get(name, {}))
    assert again == value
    assert same(state(net), before)
    assert same(inputs, batches()) and not any(x.requires_grad for x, _ in batches())


def test_the_comparison_of_states_sees_changes() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    changes: list[Callable[[], object]] = [
        lambda: net[0].running_mean.add_(1e-7), lambda: net[1].weight.data.neg_(), lambda: net[0].eval(),
        lambda: net[1].register_forward_hook(lambda *_: None), lambda: net[1].bias.requires_grad_(False),
        lambda: setattr(net[1].weight, "grad", torch.zeros(2, 2)), lambda: torch.rand(1),
        lambda: setattr(net[0], "momentum", 0.5),
    ]  # fmt: skip
    for change in changes:
        before = state(net)
        change()
        assert not same(state(net), before)


def test_which_way_is_better_and_what_needs_float64() -> None:
    records = {name: ZERO_COST[name] for name in ZERO_COST}
    assert len(records) >= 16
    assert {name for name, record in records.items() if not record.higher_is_better} == LOWER
    assert {name for name, record in records.items() if record.dtype is torch.float64} == {"ntk", "synflow"}
    assert {name for name, record in records.items() if record.batches > 1} == {"zico"}


def test_noise_comes_from_the_seed() -> None:
    net = network("nasbench201")
    assert len({score("zen", net, batches(), seed=seed, repeats=1) for seed in (0, 1, 0)}) == 2


def test_a_network_that_draws_while_it_runs_draws_from_the_seed() -> None:
    class Noisy(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input + torch.rand_like(input))

    net, batch = Noisy(3, 2), [(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))]
    assert len({score("snip", net, batch, seed=seed) for seed in (0, 1, 0)}) == 2


def test_dropout_is_off_and_batch_norms_read_the_batch() -> None:
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    plain = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    dropping = nn.Sequential(plain[0], nn.Dropout(0.9), plain[1])
    assert score("snip", dropping, [(x, y)]) == score("snip", plain, [(x, y)])
    assert score("snip", plain, [(x * 100 + 7, y)]) == pytest.approx(score("snip", plain, [(x, y)]), rel=1e-3)


def test_half_precision_counts_in_single() -> None:
    net, batch = nn.Linear(3, 2), [(torch.randn(4, 3).bfloat16(), torch.tensor([0, 1, 1, 0]))]
    net.bfloat16()
    assert score("l2", net, batch) == pytest.approx(float(net.weight.detach().float().norm()), rel=1e-6)
    assert net.weight.dtype == torch.bfloat16


def test_inside_of_inference_mode() -> None:
    with torch.inference_mode():
        net = nn.Linear(3, 2)
        batch = [(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))]
        assert score("snip", net, batch) > 0


X, Y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])
MLP = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
WORDS = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("name", "net", "given", "more", "message"),
    [
        ("nwto", MLP, [(X, Y)], {}, "unknown zero-cost score 'nwto'; did you mean 'nwot'?"),
        ("snip", "net", [(X, Y)], {}, "a score takes a network, not a str"),
        ("snip", (MLP, None), [(X, Y)], {}, r"not a tuple; .* net.discretize\(genotype\)\[0\]"),
        ("snip", MLP, [], {}, "was given no batch"),
        ("snip", MLP, (X, Y), {}, r"write \[\(inputs, targets\)\]"),
        ("snip", MLP, [X], {}, r"a batch of a score is \(inputs, targets\), not Tensor"),
        ("snip", MLP, [(X[:1], Y[:1])], {}, "needs 2 samples or more"),
        ("snip", MLP, [(X, None)], {}, "give another loss"),
        ("snip", MLP, [(X[:, :2], Y)], {}, "'snip': the network or its loss fails: mat1 and mat2"),
        ("snip", MLP, [(X, Y)], {"seed": -1}, "seed=-1 must be"),
        ("snip", nn.ReLU(), [(X, Y)], {}, "reads convolutions and linear layers; ReLU has none"),
        ("zico", MLP, [(X, Y)], {}, "needs 2 batches or more, not 1"),
        ("zico", MLP, [(X, Y), (X, Y)], {}, "no gradient differs between the batches"),
        ("zen", MLP, [(X, Y)], {"repeat": 3}, "did you mean 'repeats'?"),
        ("zen", MLP, [(X, Y)], {"repeats": 0}, "repeats=0 must be 1 or more"),
        ("swap", MLP, [(X, Y)], {"mu": 3.0}, "mu=3.0 and sigma=None must both be numbers"),
        ("linear_regions", MLP, [(X, Y)], {"samples": 1}, "samples=1 must be 2 or more"),
        ("linear_regions", nn.Conv2d(1, 1, 3), [(torch.ones(2, 1, 5, 2), Y)], {}, "size=3 is more than the images"),
        ("nwot", nn.Linear(3, 2), [(X, Y)], {}, "none runs on the way to this network's outputs"),
        ("synflow", WORDS, [(torch.ones(4, 2, dtype=torch.long), Y)], {}, "needs inputs of real numbers"),
        ("jacov", WORDS, [(torch.ones(4, 2, dtype=torch.long), Y)], {}, "needs inputs of real numbers"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(name: str, net: Any, given: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as caught:
        score(name, net, given, **more)
    assert "\n" not in str(caught.value)


def test_a_supernet_is_no_discrete_network() -> None:
    net = Supernet(get_space("nasbench201"), channels=2, cells_per_stage=1)
    with pytest.raises(SupernetError, match="discretize"):
        score("snip", net, batches())


@pytest.mark.parametrize(
    ("name", "value", "inputs", "message"),
    [
        ("snip", math.nan, X, "'snip' of this network is nan"),
        ("l2", math.inf, X, "'l2' of this network is inf"),
        ("zen", None, X, "the features do not depend on the input"),
        ("jacov", 0.0, X, "the gradient of sample 0"),
        ("ntk", None, X[[0, 0, 1, 2]], "singular"),
        ("nwot", None, X[[0, 0, 1, 2]], "two samples of a batch are the same to every ReLU"),
    ],
)
def test_what_is_not_finite_is_one_line(name: str, value: float | None, inputs: Tensor, message: str) -> None:
    net = copy.deepcopy(MLP)
    if value is not None:
        nn.init.constant_(net[2].weight, value)
    with pytest.raises(NumbersError, match=message):
        score(name, net, [(inputs, Y)], **({"gamma": 1e-30} if name == "zen" else {}))


def test_a_new_score_is_its_file_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet.evaluate import zero_cost

    registry: Registry[zero_cost.ZeroCost] = ZERO_COST
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @zero_cost.zero_cost("depth")
    def depth(trial: Any, /, *, base: int = 1) -> float:
        return float(base + len(list(trial.network.children())))

    assert score("depth", MLP, [(X, Y)]) == 4
    assert score("depth", MLP, [(X, Y)], base=2) == 5


@pytest.mark.long
@pytest.mark.parametrize("space", list(SMALL))
@pytest.mark.parametrize("name", list(ZERO_COST))
def test_other_networks_have_a_score_or_say_why(name: str, space: str) -> None:
    pairs = [(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])) for _ in range(2)]
    more = {"size": 16} if name == "linear_regions" else {}
    without_relus = space == "autoformer_tiny" and name in ("linear_regions", "nwot", "swap")
    with pytest.raises(SupernetError, match="reads ReLUs") if without_relus else nullcontext():
        assert math.isfinite(score(name, network(space), pairs, **SHORT.get(name, {}), **more))
