"""What ends a search early, goes back or splits it: DARTS+, RobustDARTS ADA, few-shot supernets and GM-NAS."""
# E edges, O operations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from supernet.config import MethodConfig, SearchConfig, WeightConfig, from_mapping
from supernet.errors import SupernetError
from supernet.methods import Method
from supernet.methods.verdict import Enter, Rollback, Stop
from supernet.methods.watcher.adaptation import Adaptation, last_return
from supernet.methods.watcher.gradient_matching import GradientMatching, bipartition, distances
from supernet.methods.watcher.one_edge import OneEdge
from supernet.methods.watcher.skip_count import SkipCount
from supernet.methods.watcher.stable_ranking import StableRanking, ranking
from supernet.space import get_space
from supernet.train.bilevel import BilevelStep
from tests.support.looks import ended, images, look_at, small_step

WARM_UP = frozenset({"weights"})


@pytest.fixture(scope="module")
def step() -> BilevelStep:
    return small_step()


def favour(step: BilevelStep, name: str, rows: dict[int, str]) -> None:
    """Alphas of a table at 0, but for one operation of some rows."""
    (table,) = [t for t in step.net.space.tables if t.name == name]
    with torch.no_grad():
        step.net.alpha[name].zero_()
        for row, operation in rows.items():
            step.net.alpha[name][row, table.columns.index(operation)] = 1 + row


# -------------------------------------------------------------------------------------------------------------- DARTS+


def test_skips_of_a_genotype_are_counted(step: BilevelStep) -> None:
    favour(step, "normal", {0: "skip_connect", 1: "sep_conv_3x3", 2: "skip_connect", 3: "skip_connect", 4: "none"})
    favour(step, "reduce", {0: "skip_connect"})
    space, genotype = step.net.space, step.net.genotype()
    assert SkipCount(table="normal").count(space, genotype) == 3, "rows 0, 2 and 3 of four that are taken"
    assert SkipCount(table="reduce").count(space, genotype) == 1
    assert SkipCount().count(space, genotype) == 4
    part = SkipCount(stop_at=3, table="normal", first=2)
    assert part.verdict(look_at(step, epoch=1)) == (), "it is early"
    assert part.verdict(look_at(step, epoch=2, learns=WARM_UP)) == (), "the alphas have not moved"
    assert part.verdict(look_at(step, epoch=2)) == (Stop(genotype),)
    assert SkipCount(stop_at=4, table="normal", first=0).verdict(look_at(step)) == ()
    assert SkipCount(first=0).verdict(look_at(step)) == (), "0 only counts"
    assert part.end_epoch(look_at(step)) == {"skip_count": 3.0}
    with pytest.raises(SupernetError, match="in table 'normal', which space 'nasbench201' does not have"):
        part.check(get_space("nasbench201"))


def test_a_ranking_that_holds_still_ends_the_search(step: BilevelStep) -> None:
    part = StableRanking(epochs=2)
    part.bind(step.net, 0)
    names = step.net.space.tables[0].columns
    for columns in part._columns.values():
        assert {names[c] for c in columns} == {"sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"}
    assert ranking([[0.1, 0.3, 0.2, 0.3]], [0, 1, 3]) == [[1, 3, 0]], "of equals the first"

    def unchanged(**more: Any) -> float:
        return part.end_epoch(look_at(step, **more))["ranking_unchanged"]

    favour(step, "normal", {0: "sep_conv_3x3"})
    assert [unchanged() for _ in range(2)] == [0, 1]
    favour(step, "normal", {0: "skip_connect"})
    step.net.alpha["normal"].data[0, names.index("sep_conv_3x3")] = 0.5
    assert unchanged() == 2, "what has no weights does not take part"
    assert part.verdict(look_at(step)) == (Stop(step.net.genotype()),)
    assert unchanged(phase=1) == 0, "a phase begins anew"
    assert part.verdict(look_at(step)) == ()
    assert unchanged(phase=1, learns=WARM_UP) == 0, "alphas that rest keep their ranking"
    favour(step, "normal", {0: "dil_conv_3x3"})
    assert [unchanged(phase=1) for _ in range(2)] == [0, 1]


# ------------------------------------------------------------------------------------------------------------------ ADA


def history(step: BilevelStep, values: list[float], epochs: list[int] | None = None) -> list[Any]:
    numbers = range(len(values)) if epochs is None else epochs
    entry = "method/eigenvalue"
    return [ended(step.net, epoch, **{entry: value}) for epoch, value in zip(numbers, values, strict=True)]


def test_where_the_loss_bends_the_search_goes_back_with_more_weight_decay() -> None:
    step = small_step()
    step.weight_config = WeightConfig(weight_decay=3e-4)
    part = Adaptation(every=1, window=3, apart=2, first=0)
    flat, bent = [1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 2.0]  # means 1 and 1; 1 and 4 / 3
    assert part.verdict(look_at(step, history=history(step, flat))) == ()
    assert part.verdict(look_at(step, history=history(step, bent))) == (
        Rollback(1, {"weights.weight_decay": pytest.approx(9e-4)}),
    )
    seen = []
    while True:
        (verdict,) = part.verdict(look_at(step, history=history(step, bent)))
        if isinstance(verdict, Stop):
            break
        seen.append(verdict.settings["weights.weight_decay"])
        step.weight_config = WeightConfig(weight_decay=seen[-1])
    assert seen == pytest.approx([9e-4, 27e-4, 81e-4, 243e-4]), "the ramp of the paper"


def test_nothing_goes_back_behind_an_epoch_that_was_gone_back_to() -> None:
    step, part = small_step(), Adaptation(every=1, window=1, apart=1, first=0)
    entries = history(step, [1.0, 1.0, 2.0], [2, 3, 8])
    assert last_return(entries) == 3
    assert part.verdict(look_at(step, history=entries)) == (Rollback(3, {"weights.weight_decay": pytest.approx(9e-4)}),)
    assert part.verdict(look_at(step, history=history(step, [1.0, 2.0, 2.0], [2, 3, 8]))) == ()
    assert Adaptation(every=1, window=3, apart=2, first=0).verdict(
        look_at(step, history=history(step, [1.0, 1.0, 1.0, 1.0, 2.0], [1, 2, 3, 7, 8]))
    ) == (), "the earlier centre, epoch 2, lies before epoch 3"  # fmt: skip
    assert Adaptation().past == 13, "6 measurements of 2 epochs lie between the newest and the earlier centre"
    assert last_return(history(step, [1.0, 1.0])) == 0


# --------------------------------------------------------------------------------------------------------------- splits


def test_an_edge_gets_a_supernet_for_each_of_its_operations(step: BilevelStep) -> None:
    part = OneEdge(at=0.5, table="reduce", row=1)
    assert part.verdict(look_at(step, epoch=0)) == ()
    assert part.verdict(look_at(step, epoch=1, learns=WARM_UP)) == ()
    (enter,) = part.verdict(look_at(step, epoch=1))
    assert isinstance(enter, Enter)
    table = step.net.space.tables[1]
    assert table.name == "reduce"
    left = [[o for o, on in enumerate(phase.masks["reduce"][1]) if on] for phase in enter.phases]
    assert left == [[column] for column in step.net.space.competing(table, 1)], "none is no child: no cell keeps it"
    for phase in enter.phases:
        assert (phase.epochs, phase.starts_from) == (2, "parent")
        assert all(all(row) for number, row in enumerate(phase.masks["reduce"]) if number != 1)
    with pytest.raises(SupernetError, match=r"row=9 of table 'normal' must lie in 0\.\.4"):
        OneEdge(row=9).check(step.net.space)
    with pytest.raises(SupernetError, match="table of space 'darts': 'normel'; did you mean 'normal'"):
        OneEdge(table="normel").check(step.net.space)


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_a_bipartition_has_the_least_distance_within_its_groups(count: int) -> None:
    half = np.random.default_rng(count).random((count, count))
    matrix = half + half.T
    least = 2 if count >= 4 else 1

    def within(group: tuple[int, ...]) -> float:
        return sum(matrix[a, b] for a, b in itertools.combinations(group, 2))

    splits = []
    for bits in itertools.product((0, 1), repeat=count):
        groups = [tuple(m for m in range(count) if bits[m] == side) for side in (0, 1)]
        if min(map(len, groups)) >= least and bits[0] == 0:
            splits.append((sum(map(within, groups)), groups))
    value, groups = min(splits, key=lambda split: split[0])
    cut, chosen = bipartition(matrix)
    assert list(chosen) == groups
    assert cut == pytest.approx(sum(matrix[a, b] for a in groups[0] for b in groups[1]))
    assert cut + value == pytest.approx(np.triu(matrix, 1).sum())


def test_distances_are_those_of_the_gradients_of_shared_weights() -> None:
    """By the plain loss of a network in which nothing else stands on the edge."""
    step = small_step(get_space("darts", nodes=1), layers=1)
    net, (table,) = step.net, [t for t in step.net.space.tables if t.name in step.net.sites]
    masks = {t.name: net.masks()[t.name] for t in net.space.tables}
    columns = [table.columns.index(name) for name in ("sep_conv_3x3", "skip_connect", "sep_conv_3x3", "avg_pool_3x3")]
    matrix = distances(look_at(step, batches=1), masks, table, 0, columns, 1)
    own = {id(w) for column in range(table.shape[1]) for w in net.parameters_of(0, 0, column)}
    shared = [w for w in net.weights() if id(w) not in own]
    assert len(shared) < len(net.weights())
    x, targets = images(0)
    gradients = []
    for column in columns:
        p = {name: value.detach().clone() for name, value in net.mixing().items()}
        p[table.name][0] = torch.nn.functional.one_hot(torch.tensor(column), table.shape[1])
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x, mixture=net.mixture(p)), targets).backward()
        gradients.append(torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in shared]))
    flat = torch.stack(gradients).double()
    cosines = flat @ flat.T / torch.outer(flat.norm(dim=1), flat.norm(dim=1))
    np.testing.assert_allclose(matrix, 1 - cosines.numpy(), atol=1e-5)
    assert matrix[0, 2] == pytest.approx(0, abs=1e-6), "equal gradients"
    assert matrix[0, 1] > 1e-3


def test_splits_make_a_tree_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    step = small_step(parts={"watchers": [{"name": "gradient_matching", "splits": 2, "batches": 1, "at": 0.4}]})
    (part,) = step.method.watchers
    assert isinstance(part, GradientMatching)
    monkeypatch.setattr(
        "supernet.methods.watcher.gradient_matching.distances",
        lambda look, masks, table, row, columns, batches: (
            (row + 9 * (table.name == "reduce") + 1) * (1 - np.eye(len(columns)))
        ),
    )
    assert part.verdict(look_at(step, epoch=0)) == ()
    (enter,) = part.verdict(look_at(step, epoch=1))
    assert isinstance(enter, Enter)
    assert len(enter.phases) == 4
    table, competing = step.net.space.tables[0], step.net.space.competing(step.net.space.tables[0], 0)
    groups = [
        [tuple(o for o in competing if phase.masks[table.name][row][o]) for row in (0, 1)] for phase in enter.phases
    ]
    assert len({tuple(pair) for pair in groups}) == 4, "rows 0 and 1 have the smallest cuts, each is split once"
    for row in (0, 1):
        assert sorted(o for group in {pair[row] for pair in groups} for o in group) == sorted(competing)
    assert all(phase.epochs == 2 and phase.starts_from == "parent" for phase in enter.phases)
    assert part.verdict(look_at(step, epoch=1)) == (), "children do not split again"


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"watchers": ["adaptation", "eigenvalue"]}, ("watchers=adaptation", "watchers=eigenvalue")),
        ({"watchers": ["adaptation", "stable_ranking"]}, ("watchers=adaptation", "watchers=stable_ranking")),
        ({"watchers": ["adaptation", {"name": "skip_count", "stop_at": 2}]}, ("adaptation", "skip_count")),
        ({"watchers": ["adaptation", "adaptation"]}, ("watchers=adaptation",)),
        ({"watchers": ["one_edge", "gradient_matching"]}, ("one_edge", "gradient_matching")),
        ({"watchers": ["one_edge", "best_epoch"]}, ("one_edge", "best_epoch")),
        ({"watchers": ["one_edge", "adaptation"]}, ("one_edge", "adaptation")),
        ({"watchers": ["one_edge"], "schedule": "p_darts"}, ("one_edge", "p_darts")),
        ({"watchers": ["one_edge"], "schedule": "then_select", "selector": "removal"}, ("one_edge", "removal")),
        ({"connectors": ["edge_pairs"], "watchers": ["greedy_edges"], "selector": "edge_pairs"},
         ("edge_pairs", "greedy_edges")),
        ({"connectors": ["edge_pairs"]}, ("connectors=edge_pairs", "selector=projection")),
        ({"connectors": ["edge_pairs", "edge_normalisation"], "selector": "edge_pairs"},
         ("edge_pairs", "edge_normalisation")),
        ({"selector": "edge_pairs"}, ("selector=edge_pairs", "connectors=[edge_pairs]")),
        ({"schedule": "untrained", "selector": "rank_sum"}, ("schedule=untrained", "hypergradient=first_order")),
        ({"relaxation": "uniform"}, ("relaxation=uniform", "hypergradient=first_order")),
    ],
)  # fmt: skip
def test_what_makes_no_sense_together_is_one_line(settings: dict[str, Any], names: tuple[str, ...]) -> None:
    with pytest.raises(SupernetError) as error:
        Method(from_mapping(MethodConfig, {"name": "test", **settings}))
    assert "\n" not in str(error.value)
    assert all(name in str(error.value) for name in names), str(error.value)


def test_counts_of_weakened_skips_are_allowed_and_said() -> None:
    parts = {"connectors": ["auxiliary_skip"], "watchers": [{"name": "skip_count", "stop_at": 2}]}
    method = Method(from_mapping(MethodConfig, {"name": "test", **parts}))
    (line,) = method.fits(SearchConfig())
    assert line.startswith("method.connectors=auxiliary_skip with method.watchers=skip_count: ")


@pytest.mark.parametrize(
    ("part", "arguments", "message"),
    [
        (SkipCount, {"stop_at": -1}, "skip_count: stop_at=-1 must be 0 or more"),
        (StableRanking, {"epochs": 0}, "stable_ranking: epochs=0 must be 1 or more"),
        (Adaptation, {"factor": 1.0}, "adaptation: factor=1.0 must be above 1"),
        (OneEdge, {"at": 1.0}, r"one_edge: at=1.0 must lie in \(0, 1\)"),
        (GradientMatching, {"splits": 0}, "gradient_matching: splits=0 must be 1 or more"),
    ],
)
def test_arguments_out_of_range_are_named(part: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        part(**arguments)
