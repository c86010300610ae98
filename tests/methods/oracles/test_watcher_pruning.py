"""What prunes during a search: SGAS, ASAP, IS-DARTS and TE-NAS, by hand, by loops and by enumeration."""
# E edges, O operations, B batch, C channels, H height, W width

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.config import SearchConfig
from supernet.errors import SupernetError
from supernet.methods.part import Clock
from supernet.methods.relaxation.temperature import Temperature
from supernet.methods.relaxation.uniform import Uniform
from supernet.methods.selector.rank_sum import RankSum, rank_sums
from supernet.methods.untrained import draw_kaiming, linear_regions, ntk_condition
from supernet.methods.verdict import Done, FixEdge, Mask
from supernet.methods.watcher.fisher import Fisher, cut, importance
from supernet.methods.watcher.greedy_edges import GreedyEdges, scores
from supernet.methods.watcher.threshold import Threshold, below
from supernet.network import Supernet
from supernet.network.connector import EdgeSite
from supernet.presets import preset
from supernet.space import get_space
from supernet.space.table import Table
from supernet.stages.run_search import run_search
from tests.support.looks import images, look_at, small_step
from tests.support.searches import search_config
from tests.support.small_parts import small

COLUMNS = ("none", "skip_connect", "sep_conv_3x3")


# ----------------------------------------------------------------------------------------------------------------- SGAS


def norm(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values]


def certainty(one: float, other: float) -> float:
    q = one / (one + other)
    return 1 + (q * math.log(q) + (1 - q) * math.log(1 - q)) / math.log(2)


def test_the_score_of_an_edge_is_its_importance_times_its_certainty() -> None:
    p = [(0.5, 0.2, 0.3), (0.1, 0.8, 0.1), (0.2, 0.3, 0.5), (0.9, 0.01, 0.09), (0.3, 0.25, 0.45)]
    expected = [
        a * b for a, b in zip(norm([0.5, 0.9, 0.8, 0.1, 0.7]), norm([certainty(*row[1:]) for row in p]), strict=True)
    ]
    rows = [(np.array(row), COLUMNS) for row in p]
    np.testing.assert_allclose(scores(rows), expected, rtol=1e-12)
    before = [np.array([[0.1, 0.3, 0.6], row]) for row in p]
    common = [(min(1 / 3, row[1] / (1 - row[0])) + min(2 / 3, row[2] / (1 - row[0])) + 1) / 2 for row in p]
    stable = [a * b for a, b in zip(expected, norm(common), strict=True)]
    np.testing.assert_allclose(scores(rows, before), stable, rtol=1e-9)


def alphas(step: Any, rows: Mapping[str, Mapping[int, Mapping[str, float]]]) -> None:
    """Alphas at 0 but for these."""
    with torch.no_grad():
        for table in step.net.space.tables:
            step.net.alpha[table.name].zero_()
            for row, values in rows.get(table.name, {}).items():
                for name, value in values.items():
                    step.net.alpha[table.name][row, table.columns.index(name)] = value


def test_the_surest_edge_is_fixed_and_its_node_loses_the_others_in_the_end() -> None:
    step = small_step()
    part = GreedyEdges(first=1, every=2)
    sure = {"none": -3.0, "sep_conv_3x3": 4.0}
    alphas(step, {"normal": {2: sure, 4: {"none": -3.0, "skip_connect": 3.0}}})
    assert part.verdict(look_at(step, epoch=0)) == ()
    assert part.verdict(look_at(step, epoch=2)) == ()
    first, *_ = part.verdict(look_at(step, epoch=1))
    (table, *_) = step.net.space.tables
    column = table.columns.index("sep_conv_3x3")
    assert first == FixEdge("normal", 2, column)
    rows = [[o == column for o in range(len(table.columns))] if row == 2 else [True] * 8 for row in range(5)]
    step.net.prune({"normal": tuple(map(tuple, rows))})
    fixed, mask, *_ = part.verdict(look_at(step, epoch=3, epochs=8))
    assert fixed == FixEdge("normal", 4, table.columns.index("skip_connect"))
    assert isinstance(mask, Mask), "rows 2 and 4 are the inputs of the second node, so row 3 goes"
    none = table.columns.index("none")
    assert mask.masks["normal"][3] == tuple(o == none for o in range(len(table.columns)))
    step.net.prune({"normal": tuple(tuple(o == 1 for o in range(8)) if row == 4 else (True,) * 8 for row in range(5))})
    step.net.prune(mask.masks)
    active = step.net.space.active(step.net.genotype())["normal"]
    assert {row for row, _ in active} == {0, 1, 2, 4}


def test_decisions_that_are_tables_of_one_row_are_compared_with_each_other() -> None:
    """They have no `none`, so all are equally important, and the surest counts."""
    step = small_step(get_space("nas_bench_macro"))
    second, fifth = (step.net.space.tables[number] for number in (2, 5))
    alphas(step, {second.name: {0: {second.columns[0]: 1.0}}, fifth.name: {0: {fifth.columns[1]: 2.0}}})
    part = GreedyEdges(first=0)
    assert part.verdict(look_at(step, epoch=0)) == [FixEdge(fifth.name, 0, 1)]
    step.net.prune({fifth.name: ((False, True, False),)})
    assert part.verdict(look_at(step, epoch=5)) == [FixEdge(second.name, 0, 0)]


def test_the_second_criterion_remembers_the_epochs_before() -> None:
    step, part = small_step(), GreedyEdges(first=9, history=2)
    part.bind(step.net, 0)
    rows = []
    for epoch in range(3):
        alphas(step, {"normal": {0: {"sep_conv_3x3": float(epoch)}}})
        part.verdict(look_at(step, epoch=epoch))
        rows.append(step.net.strengths()["normal"][0])
    assert int(part.seen) == 3
    np.testing.assert_allclose(part.history.get_buffer("normal")[:, 0].numpy(), rows[1:])


# ----------------------------------------------------------------------------------------------------------------- ASAP


def test_the_temperature_falls_exponentially() -> None:
    part, alpha = Temperature(tau=2.0, tau_end=0.5), torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    table = Table("t", ("0-1",), COLUMNS)
    for epoch, tau in ((0, 2.0), (2, 1.0), (4, 0.5)):
        part.prepare(Clock(epoch=epoch, epochs=5))
        torch.testing.assert_close(part(alpha, table), torch.softmax(alpha / tau, dim=-1), rtol=1e-6, atol=1e-7)


def test_what_falls_below_the_threshold_goes_and_one_operation_is_left() -> None:
    part = Threshold(share=0.4, end=0.5)
    table = Table("t", ("a", "b", "c"), COLUMNS)
    assert part.theta(table, 0) == pytest.approx(0.4 / 3)
    assert part.theta(table, 0.5) == pytest.approx(math.sqrt(0.4 / 3 * 0.5))
    assert part.theta(table, 1) == pytest.approx(0.5)
    strengths = {"t": [[0.1, 0.2, 0.7], [0.6, 0.25, 0.15], [0.34, 0.33, 0.33]]}
    mask, columns = table.mask, [[1, 2]] * 3
    assert below(strengths, table, mask, columns, 0.15) == [(0, 0)]
    assert below(strengths, table, mask, columns, 0.26) == [(0, 0), (0, 1), (1, 2)], "1 is the strongest to be taken"
    assert below(strengths, table, mask, columns, 0.5) == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 2)]
    assert below(strengths, table, mask, columns, 0.5, rivals=True) == [(0, 1), (1, 2), (2, 2)], "none stays"
    named = Table("t", ("a", "b", "c"), ("a", "b", "c"))
    all_three = [[0, 1, 2]] * 3
    assert below(strengths, named, mask, all_three, 0.5, rivals=True) == [(0, 0), (1, 2), (2, 2)], "the second"


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_the_last_threshold_leaves_no_cut_for_the_end(space: str) -> None:
    step, part = small_step(get_space(space, **({"nodes": 2} if space == "darts" else {}))), Threshold()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for alpha in step.net.alphas():
            alpha.copy_(torch.randn(alpha.shape, generator=generator))
    (verdict,) = part.verdict(look_at(step, epoch=3))
    step.net.prune(verdict.masks)
    for table in step.net.space.tables:
        left, alpha = step.net.masks()[table.name], step.net.alpha[table.name].tolist()
        for row, runs in enumerate(left):
            competing = step.net.space.competing(table, row)
            strongest = max(competing, key=lambda column: alpha[row][column])
            assert [column for column in competing if runs[column]] == [strongest]
            assert sum(runs) == (2 if space == "darts" else 1), "an edge and its rival"


# ------------------------------------------------------------------------------------------------------------- IS-DARTS


def test_uniform_weights_of_what_is_left() -> None:
    alpha = torch.tensor([[0.5, -math.inf, 2.0], [1.0, 1.0, 1.0]])
    table = Table("t", ("a", "b"), COLUMNS)
    for of, first in (("all", [1 / 3, 0, 1 / 3]), ("left", [0.5, 0, 0.5]), ("one", [1, 0, 1])):
        p = Uniform(of)(alpha, table)
        torch.testing.assert_close(p, torch.tensor([first, [1.0] * 3 if of == "one" else [1 / 3] * 3]))
    with pytest.raises(SupernetError, match="'al'; did you mean 'all'"):
        Uniform("al")


def test_importance_is_the_loop_over_channels() -> None:
    y = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = []
    for sample in y:
        terms = []
        for h in range(3):
            for w in range(2):
                place = [float(v) for v in sample[:, h, w]]
                mean = sum(place) / 4
                variance = sum((v - mean) ** 2 for v in place) / 3
                terms += [3 * (v - mean) ** 2 / variance**3 for v in place]
        expected.append(sum(terms) / len(terms))
    np.testing.assert_allclose(importance(y).numpy(), expected, rtol=1e-9)
    assert bool((importance(y) > 1.9 / 2 * torch.tensor(expected)).all())
    assert math.isinf(float(importance(torch.ones(1, 4, 2, 2))[0])), "what gives the same everywhere goes first"
    assert math.isinf(float(importance(torch.ones(1, 1, 2, 2))[0]))


class Own:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int, str], list[Tensor]] = {}

    def observe(self, edge: EdgeSite, outputs: Mapping[str, Tensor]) -> None:
        for name, y in outputs.items():
            self.seen.setdefault((edge.table, edge.row, name), []).append(importance(y))


def test_importance_is_averaged_over_samples_and_cells() -> None:
    step = small_step(parts={"relaxation": {"name": "uniform", "of": "all"}, "hypergradient": "none"})
    net, part, own = step.net, Fisher(), Own()
    values = part.measure(look_at(step, batches=2))
    assert net.body.observers == (), "nothing looks on any more"
    with net.observing(own), torch.no_grad():
        for number in range(2):
            net.train()(images(number)[0])
    names = {table.name: table.columns for table in net.space.tables}
    assert {(t, row, names[t][column]) for t, row, column in values} == set(own.seen)
    for (table, row, column), value in values.items():
        assert value == pytest.approx(float(torch.cat(own.seen[table, row, names[table][column]]).mean()), rel=1e-4)


def test_cuts_leave_two_edges_of_one_operation_at_a_node() -> None:
    space = get_space("darts")
    table = space.tables[0]
    generator = np.random.default_rng(0)
    values = {(table.name, row, column): float(generator.random()) for row in range(14) for column in range(1, 8)}
    masks, counts = {table.name: table.mask}, []
    for turn in range(7):
        mask = cut(space, table, masks, values, turn, 7)
        gone = {(row, o) for row in range(14) for o in range(8) if masks[table.name][row][o] and not mask[row][o]}
        node = [row for row in range(14) if table.targets and table.targets[row] == 2]
        stay = [values[table.name, row, o] for row in node for o in range(1, 8) if mask[row][o]]
        lost = [values[table.name, row, o] for row, o in gone if row in node]
        assert turn == 6 or not lost or min(lost) > max(stay), "those with the largest F"
        masks[table.name] = mask
        counts.append(sum(mask[row][o] for row in node for o in range(1, 8)))
    assert counts == [14, 12, 10, 8, 6, 4, 2], "of 16 with none, which goes first"
    left = [[o for o in range(1, 8) if mask[row][o]] for row in range(14)]
    for node_number in set(table.targets or ()):
        rows = [left[row] for row in range(14) if table.targets and table.targets[row] == node_number]
        assert sorted(map(len, rows))[-2:] == [1, 1]
        assert sum(map(len, rows)) == 2


def test_cuts_leave_one_operation_on_edges_that_all_stay() -> None:
    space = get_space("nasbench201")
    (table,) = space.tables
    values = {(table.name, row, column): column * math.pi % 1 for row in range(6) for column in range(1, 5)}
    values[table.name, 0, 3] = math.nan
    masks = {table.name: table.mask}
    order = sorted(range(1, 5), key=lambda column: -(column * math.pi % 1))
    for turn, expected in enumerate([set(order), set(order[1:]), set(order[2:]), set(order[3:])]):
        masks[table.name] = cut(space, table, masks, values, turn, 4)
        assert {o for o in range(5) if masks[table.name][1][o]} == expected
    assert not masks[table.name][0][3], "what is no number counts as infinite"
    assert cut(space, table, {table.name: table.mask}, values, 3, 4) == masks[table.name], "all at once, at the end"


def test_edges_that_would_vanish_without_a_trace_are_refused() -> None:
    operations = ["skip_connect", "sep_conv_3x3"]
    with pytest.raises(SupernetError, match="'darts' does not offer 'none' on all edges of table 'normal'"):
        Fisher().check(get_space("darts", operations=operations))
    Fisher().check(get_space("darts", nodes=1, operations=operations))
    with pytest.raises(SupernetError, match="'nas_bench_macro' are no edges"):
        Fisher().check(get_space("nas_bench_macro"))


def test_plans_that_a_search_is_too_short_for_are_said() -> None:
    short = SearchConfig(epochs=40)
    (line,) = Fisher().fits(short)
    assert line == "fisher plans its last cut for epoch 47, and epochs=40: what is left is cut at the end"
    assert Fisher().fits(SearchConfig(epochs=50)) == ()
    with pytest.raises(SupernetError, match="greedy_edges decides from epoch first=40 on, and epochs=40"):
        GreedyEdges(first=40).fits(short)
    assert GreedyEdges().fits(short) == ()


# --------------------------------------------------------------------------------------------------------------- TE-NAS


class Small(nn.Module):
    """Two inputs, `units` ReLUs, one output; has of a supernet what is asked for."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, units), nn.ReLU(), nn.Linear(units, 2)).double()

    def weights(self) -> list[nn.Parameter]:
        return list(self.parameters())

    def forward(self, x: Tensor, mixture: object = None) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def test_the_condition_of_the_kernel_is_that_of_the_explicit_jacobian() -> None:
    torch.manual_seed(0)
    net, x = Small(5), torch.randn(4, 2, dtype=torch.float64)
    parameters = dict(net.named_parameters())

    def sums(values: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = torch.func.functional_call(net, values, (x,))
        return outputs.sum(dim=1)

    jacobian = torch.func.jacrev(sums)(parameters)
    flat = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1).detach()
    singular = torch.linalg.svdvals(flat)
    expected = float((singular[0] / singular[-1]) ** 2)
    assert ntk_condition(net, None, x) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]
    assert ntk_condition(net, None, x[:1].repeat(3, 1)) == 1e5, "equal samples"  # type: ignore[arg-type]


def test_regions_are_the_sign_patterns_of_a_grid() -> None:
    """Three lines in general position cut the plane into seven regions."""
    net = Small(3)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        net.layers[0].bias.copy_(torch.tensor([0.05, 0.05, -0.35]))
    axis = torch.linspace(-1, 1, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert linear_regions(net, None, grid.split(500)) == 7  # type: ignore[arg-type]
    assert linear_regions(net, None, [grid[:1]]) == 1  # type: ignore[arg-type]


def test_kaiming_draws_have_the_variance_of_their_mode() -> None:
    for mode, fan in (("fan_in", 64), ("fan_out", 16)):
        layer = nn.Conv2d(64, 16, 1)
        draw_kaiming(layer, mode, 3)  # type: ignore[arg-type]
        assert float(layer.weight.detach().var()) == pytest.approx(2 / fan, rel=4 * math.sqrt(2 / 1024))
        assert layer.bias is not None
        assert not layer.bias.any()


def test_ranks_are_added_and_equals_share_one() -> None:
    """kappa_0 = 10, R_0 = 8."""
    values = {0: (8.0, 8.0), 1: (5.0, 6.0), 2: (8.0, 7.0), 3: (12.0, 8.0)}
    removals = [("t", 0, column) for column in values]
    sums = rank_sums(removals, (10.0, 8.0), lambda at: values[at[2]])
    assert [sums[at] for at in removals] == [1 + 0, 0 + 2, 1 + 1, 2 + 0]


@pytest.mark.parametrize(("space", "each", "rounds"), [("darts", 3, 3), ("nasbench201", 1, 5)])
def test_rounds_take_operations_then_edges(monkeypatch: pytest.MonkeyPatch, space: str, each: int, rounds: int) -> None:
    """By made up measurements: an operation is worth its column, an edge its row."""
    made = get_space(space, **({"nodes": 2} if space == "darts" else {}))
    step = small_step(made, {"relaxation": {"name": "uniform", "of": "one"}, "hypergradient": "none"})
    part = RankSum(each=each)
    part.bind(step.net, 0)

    class Made:
        def __init__(self, *_: object) -> None: ...

        def __call__(self, masks: Any) -> tuple[float, float]:
            total = sum(
                (1 + row) * (1 + column)
                for mask in masks.values()
                for row, runs in enumerate(mask)
                for column, on in enumerate(runs)
                if on
            )
            return 10.0, float(total)

    monkeypatch.setattr("supernet.methods.selector.rank_sum._Untrained", Made)
    done, number = False, 0
    while not done:
        mask, *rest = part.round(look_at(step, epoch=0, epochs=100))
        assert isinstance(mask, Mask)
        step.net.prune(mask.masks)
        done, number = rest == [Done()], number + 1
    assert number == rounds
    active = made.active(part.present(step.net))
    for table in made.tables:
        last = {len(table.columns) - 1}
        assert {column for _, column in active[table.name]} == last, "the dearest to lose stays"
        if space == "darts":
            assert {row for row, _ in active[table.name]} == {0, 1, 3, 4}, "the second node loses its first edge"


def test_an_untrained_selection_leaves_the_weights_alone() -> None:
    """And its measurements come from copies of the network: with nothing made up, all rounds in the last epoch."""
    step = small_step(get_space("darts", nodes=1, operations=list(COLUMNS)),
                      {"relaxation": {"name": "uniform", "of": "one"}, "hypergradient": "none"})  # fmt: skip
    before = {name: tensor.clone() for name, tensor in step.net.state_dict().items()}
    found = []
    for _ in range(2):
        part = RankSum(each=1, repeats=1, batch=3, inputs=5)
        part.bind(step.net, 7)
        found.append(part.round(look_at(step, epoch=3)))
    assert found[0] == found[1]
    assert found[0][-1] == Done()
    for name, tensor in step.net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_search_without_training_ends_with_the_weights_that_were_drawn(tmp_path: Path) -> None:
    method = small(preset("method", "te_nas"))["method"]
    config = search_config(tmp_path, "darts", "te_nas", method=method, epochs=3)
    searched = run_search(config)
    assert [sum(row) for row in searched.net.masks()["normal"]] == [2, 2], "one operation, and none"
    drawn = Supernet(searched.net.space, executor="torch", seed=config.seed, **searched.net.arguments)
    for name, tensor in drawn.state_dict().items():
        assert torch.equal(tensor, searched.net.state_dict()[name]), name
