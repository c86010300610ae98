"""Stages that draw anew, widen and change what competes: DOTS and DrNAS in stages."""
# E edges, O operations, P pairs

import itertools

import pytest
import torch
from torch import Tensor

from supernet.config import SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.methods import Method
from supernet.methods.connector.edge_pairs import EdgePairs, pairs_of
from supernet.methods.part import Clock
from supernet.methods.relaxation.operation_groups import OperationGroups, free
from supernet.methods.schedule.dots import Dots
from supernet.methods.schedule.progressive import Progressive
from supernet.methods.watcher.best_of_groups import BestOfGroups
from supernet.presets import preset
from supernet.space import get_space
from supernet.train.course import Course
from supernet.train.phases import planned
from supernet.train.widening import widen, wider
from tests.support.looks import images, look_at, small_step

WEIGHTS, BOTH = frozenset({"weights"}), frozenset({"weights", "alphas"})
DOTS = {
    "relaxation": "operation_groups", "connectors": ["edge_pairs"], "selector": "edge_pairs",
    "watchers": ["best_of_groups"],
}  # fmt: skip


def config_of(name: str, epochs: int) -> SearchConfig:
    return from_mapping(SearchConfig, {**preset("method", name), "epochs": epochs})


# ----------------------------------------------------------------------------------------------------------------- DOTS


def test_each_group_has_a_softmax_of_its_own_until_the_weights_are_drawn_anew() -> None:
    step = small_step(parts=DOTS)
    net, part, (table, *_) = step.net, step.method.relaxation, step.net.space.tables
    assert isinstance(part, OperationGroups)
    assert all(not alpha.any() for alpha in net.alphas()), "they begin at 0"
    assert free(table) == [True] * 4 + [False] * 4
    alpha = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha[1, 2] = alpha[3, 4:] = float("-inf")
    part.prepare(Clock(stage=0))
    p = part(alpha, table)
    for row in range(5):
        for group in (range(4), range(4, 8)):
            exponentials = [float(alpha[row, o].exp()) for o in group]
            total = sum(exponentials)
            expected = [value / total if total else 0.0 for value in exponentials]
            torch.testing.assert_close(p[row, list(group)], torch.tensor(expected, dtype=torch.float64))
    part.prepare(Clock(stage=1))
    torch.testing.assert_close(part(alpha, table), torch.softmax(alpha, dim=-1))
    leaf = alpha.clone().requires_grad_()
    part.prepare(Clock(stage=0))
    part(leaf, table)[:, 1].sum().backward()
    assert leaf.grad is not None
    assert bool(torch.isfinite(leaf.grad).all())
    assert not leaf.grad[:, 4:].any(), "groups do not compete"


def test_the_best_of_each_group_stays() -> None:
    step = small_step(parts=DOTS)
    names = step.net.space.tables[0].columns
    with torch.no_grad():
        for column, value in {"none": 9.0, "skip_connect": 2.0, "sep_conv_3x3": 0.1, "dil_conv_5x5": 0.3}.items():
            step.net.alpha["normal"][:, names.index(column)] = value
    part = BestOfGroups()
    assert part.verdict(look_at(step, epoch=1)) == ()
    assert part.verdict(look_at(step, epoch=3, stage=1)) == ()
    (verdict,) = part.verdict(look_at(step, epoch=3))
    left = {"skip_connect", "dil_conv_5x5"}
    assert verdict.masks["normal"] == (tuple(name in left for name in names),) * 5, "none is never taken"


def test_weights_of_edges_are_those_of_the_pairs_that_hold_them() -> None:
    space = get_space("darts", nodes=3)
    step = small_step(space, DOTS)
    (part,) = step.method.connectors
    assert isinstance(part, EdgePairs)
    table = space.tables[0]
    pairs = pairs_of(space, table)
    rows = {node: [r for r, t in enumerate(table.targets or ()) if t == node] for node in (2, 3, 4)}
    assert pairs == [pair for node in (2, 3, 4) for pair in itertools.combinations(rows[node], 2)]
    generator = torch.Generator().manual_seed(1)
    beta = torch.randn(len(pairs), generator=generator)
    part.beta[table.name].data.copy_(beta)
    part.tau.fill_(0.7)
    weights = part.weights(table)
    for members in rows.values():
        inside = [number for number, pair in enumerate(pairs) if pair[0] in members]
        q = dict(zip(inside, torch.softmax(beta[inside].double() / 0.7, dim=0).tolist(), strict=True))
        for row in members:
            assert float(weights[row].detach()) == pytest.approx(
                sum(q[number] for number in inside if row in pairs[number]), rel=1e-5
            )
        assert float(weights[members].sum().detach()) == pytest.approx(2)
    part.tau.fill_(1e-3)
    cold = part.weights(table).detach()
    assert {row for row in range(len(cold)) if cold[row] > 0.5} == part.strongest(space, table)
    p = torch.rand(len(table.rows), 8)
    part.active.fill_(False)
    assert torch.equal(part(p, table), p), "every edge has the weight 1 before"
    part.active.fill_(True)
    torch.testing.assert_close(part(p, table), cold[:, None] * p)


def test_pairs_begin_in_the_last_epochs_behind_the_new_draw() -> None:
    part = EdgePairs(tau=10.0, tau_end=0.02, part=0.5)
    for epoch, stage, active, tau in ((39, 0, False, 0.02), (19, 1, False, 10.0), (20, 1, True, 10.0)):
        part.prepare(Clock(epoch=epoch, epochs=40, stage=stage))
        assert (bool(part.active), float(part.tau)) == (active, pytest.approx(tau))
    part.prepare(Clock(epoch=27, epochs=40, stage=1))
    assert float(part.tau) == pytest.approx(10 * 0.002 ** (7 / 19), rel=1e-5)
    with pytest.raises(SupernetError, match="space 'nasbench201' does not have nodes that keep some of their edges"):
        part.check(get_space("nasbench201"))


def test_the_strongest_pair_counts_not_the_two_strongest_edges() -> None:
    space = get_space("darts", nodes=3)
    step = small_step(space, DOTS)
    (part,) = step.method.connectors
    assert isinstance(part, EdgePairs)
    for table in space.tables:
        pairs = pairs_of(space, table)
        # The third node has the edges 5 to 8: the pair (5, 6) is the best, 7 is in the three next ones.
        strengths = {(5, 6): 1.0, (5, 7): 0.9, (6, 7): 0.9, (7, 8): 0.9}
        part.beta[table.name].data.copy_(torch.tensor([strengths.get(tuple(pair), 0.0) for pair in pairs]))
    part.tau.fill_(0.5)
    weights = part.weights(space.tables[0]).detach()
    assert int(weights[5:].argmax()) == 2, "edge 7 alone has the largest weight"
    for active, rows in ((True, {5, 6}), (False, {5, 6})):
        part.active.fill_(active)
        taken = {row for row, _ in space.active(step.method.present(step.net))["normal"]}
        assert taken & {5, 6, 7, 8} == rows
    with torch.no_grad():
        step.net.alpha["normal"][8, 4] = 3.0
    taken = {row for row, _ in space.active(step.method.present(step.net))["normal"]}
    assert 8 in taken, "before the pairs learn, the strongest edges are shown"


def test_four_phases_of_the_authors() -> None:
    config = config_of("dots", 70)
    phases = planned(config, Method(config.method))
    assert [(p.epochs, p.learns, p.starts_from, p.keep) for p in phases] == [
        (15, WEIGHTS, "inherit", None), (15, BOTH, "inherit", None),
        (20, WEIGHTS, "fresh", 2), (20, BOTH, "inherit", None),
    ]  # fmt: skip
    assert [p.epochs for p in Dots().phases(config_of("dots", 2))] == [1, 1]
    with pytest.raises(SupernetError, match="dots has 2 stages, and epochs=1 are fewer"):
        Dots().phases(config_of("dots", 1))


# ------------------------------------------------------------------------------------------------------ DrNAS in stages


def test_stages_share_one_cosine() -> None:
    config = config_of("drnas_progressive", 50)
    phases = planned(config, Method(config.method))
    assert [(p.epochs, p.learns, p.starts_from, p.keep, p.network) for p in phases] == [
        (10, WEIGHTS, "inherit", None, {"partial": 6}), (15, BOTH, "inherit", None, {}),
        (10, WEIGHTS, "widen", 4, {"partial": 4}), (15, BOTH, "inherit", None, {}),
    ]  # fmt: skip
    course = Course(list(phases), number=2, ended=[10, 15])
    assert course.segment == (0, 50)
    assert course.stage == 0
    assert course.network == {"partial": 4}
    assert course.phase.remakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"partial": (4, 6)}, r"partial=\[4, 6\] must not rise"),
        ({"partial": (6, 4, 2)}, r"keep=\[4\] one a stage from the second on"),
        ({"warmup": 1.0}, r"warmup=1.0 must lie in \[0, 1\)"),
    ],
)
def test_stages_that_make_no_sense_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        Progressive(**arguments)  # type: ignore[arg-type]


def test_channels_that_a_later_stage_cannot_divide_are_refused_at_once() -> None:
    step = small_step()
    with pytest.raises(SupernetError, match="network.partial=3 must divide the channels of each cell, and one has 4"):
        Progressive(partial=(4, 3)).bind(step.net, 0)
    with pytest.raises(SupernetError, match="'nas_bench_macro' does not have mixed cells"):
        Progressive(partial=(4, 2)).bind(small_step(get_space("nas_bench_macro")).net, 0)


def test_new_channels_are_copies_of_old_ones() -> None:
    weight = torch.arange(6.0).reshape(2, 3, 1, 1)
    name = "body.cells.0.edges.1.2.op.1.weight"
    grown = wider(weight, (4, 6, 1, 1), name, 5)
    assert torch.equal(grown[:2, :3], weight)

    def copies(values: Tensor, of: Tensor) -> list[int]:
        return [next(j for j, old in enumerate(of) if torch.equal(old, value)) for value in values]

    out, into = copies(grown[2:, :3], weight), copies(grown[:2, 3:].transpose(0, 1), weight.transpose(0, 1))
    for i, j in itertools.product(range(2), range(3)):
        assert float(grown[2 + i, 3 + j]) == float(weight[out[i], into[j]])
    mean = wider(torch.tensor([10.0, 20.0]), (4,), "body.cells.0.edges.1.2.op.2.running_mean", 5)
    assert copies(mean[2:], torch.tensor([10.0, 20.0])) == out, "one draw for an operation"
    others = {
        tuple(wider(torch.arange(9.0), (18,), f"body.cells.0.edges.1.{number}.weight", 5).tolist())
        for number in range(4)
    }
    assert len(others) == 4, "and others elsewhere"
    with pytest.raises(ValueError, match="cannot be widened"):
        wider(weight, (1, 3, 1, 1), name, 5)


def test_weights_statistics_and_momenta_are_widened() -> None:
    narrow, wide = small_step(partial=4, channels=8), small_step(partial=2, channels=8)
    narrow(images(0), images(1), epoch=1)
    widen(narrow.state_dict(), wide, 3)
    names = {id(p): name for name, p in wide.net.named_parameters()}
    old, new = narrow.net.state_dict(), wide.net.state_dict()
    grown = [name for name in new if old[name].shape != new[name].shape]
    assert any("running_mean" in name for name in grown)
    for name, tensor in new.items():
        expected = old[name] if name not in grown else wider(old[name], tensor.shape, name, 3)
        assert torch.equal(tensor, expected), name
    pairs = list(zip(narrow.weights, wide.weights, strict=True))
    assert any(a.shape != b.shape for a, b in pairs)
    for before, after in pairs:
        momenta = [step.weight_optimizer.state[w]["momentum_buffer"] for step, w in ((narrow, before), (wide, after))]
        assert torch.equal(momenta[1], wider(momenta[0], after.shape, names[id(after)], 3))
    assert any(bool(wide.weight_optimizer.state[w]["momentum_buffer"].any()) for w in wide.weights)
    for before, after in zip(narrow.alphas, wide.alphas, strict=True):
        assert torch.equal(before, after)
        moments = [step.alpha_optimizer.state[a]["exp_avg"] for step, a in ((narrow, before), (wide, after))]
        assert torch.equal(*moments)


def test_a_selection_in_rounds_needs_a_selector_that_has_some() -> None:
    config = from_mapping(SearchConfig, {"method": {"name": "test", "schedule": "then_select"}, "epochs": 3})
    with pytest.raises(SupernetError, match="method.selector chooses at once; take a selector that has rounds"):
        planned(config, Method(config.method))
