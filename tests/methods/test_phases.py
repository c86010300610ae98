"""Phases and verdicts: what each does to a search, and that a search stopped around it ends with the same bits."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import tests.support.toy_parts  # noqa: F401  # registers its parts
from supernet.config import SearchConfig
from supernet.methods.phase import Phase, phase_from
from supernet.runs.log import read_metrics
from supernet.stages.run_search import run_search
from supernet.train import phases
from supernet.train.captured import CapturedStep
from supernet.train.course import Course
from tests.support.replaying import NotedGraphs
from tests.support.searches import final_state, same, search_config

STEPS = 3  # an epoch
WHAT: dict[str, dict[str, Any]] = {
    "fresh": {"schedule": "toy"},
    "inherit": {"schedule": {"name": "toy", "starts_from": "inherit"}},
    "selection": {"schedule": {"name": "toy", "select": True}, "selector": "toy"},
    "warm-up": {"warmup_epochs": 1},
    "soft draw": {"sampler": {"name": "gumbel", "tau": 5, "tau_end": 1}, "connectors": ["skip_dropout"]},
    "hard draw": {"sampler": {"name": "gumbel", "hard": True}, "connectors": ["edge_normalisation"]},
    **{kind: {"watchers": [{"name": "toy", "kind": kind, "at": 1}]}
       for kind in ("mask", "fix", "freeze", "stop", "rollback", "branch", "done")},
}  # fmt: skip


def config(root: Path, what: str, epochs: int = 3) -> SearchConfig:
    return search_config(
        root, "darts", "darts_first_order", epochs=epochs, method={"name": "toy", **WHAT[what]}, executor="torch"
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(what a search returned, its final state, the rows of its log) by what happens in it; made once."""
    made: dict[str, Any] = {}

    def get(what: str) -> Any:
        if what not in made:
            root = tmp_path_factory.mktemp("whole")
            searched = run_search(config(root, what))
            made[what] = searched, final_state(root), read_metrics(root / "run" / "metrics.jsonl", time=False)
        return made[what]

    return get


@pytest.mark.parametrize("what", WHAT)
def test_a_search_stopped_around_it_ends_with_the_same_bits(tmp_path: Path, whole: Any, what: str) -> None:
    searched, state, rows = whole(what)
    after = STEPS if what in ("fresh", "inherit", "selection", "warm-up") else 2 * STEPS
    stops = {"fresh": (after, after + 1), "rollback": (after, after + 1), "selection": (after, 2 * STEPS + 1)}
    for stop in stops.get(what, (after,)):
        if stop > state["step"]:
            continue
        run_search(config(tmp_path, what), until=stop)
        torch.rand(7)
    rest = run_search(config(tmp_path, what))
    assert rest.done
    same(final_state(tmp_path), state)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl", time=False) == rows
    assert rest.genotype == searched.genotype


def test_a_deeper_network_of_fewer_operations(whole: Any) -> None:
    for what in ("fresh", "inherit"):
        searched, state, _ = whole(what)
        assert searched.net.arguments["layers"] == 4
        masks = searched.net.masks()
        assert all(sum(row) == 3 for table in searched.net.space.tables for row in masks[table.name])
        assert state["step"] == 2 * STEPS, "the schedule says how many epochs there are"
    course = Course.of(whole("fresh")[1]["program"]["course"])
    assert course.ended == [1, 1]
    assert course.over
    nets = [whole(what)[1]["program"]["bilevel"]["net"] for what in ("fresh", "inherit")]
    assert not torch.equal(nets[0]["alpha.reduce"], nets[1]["alpha.reduce"])


def test_rounds_of_a_selection(whole: Any) -> None:
    searched, state, rows = whole("selection")
    masks = searched.net.masks()
    rows_left = [[sum(row) for row in masks[name]] for name in ("normal", "reduce")]
    assert rows_left == [[1, 1], [3, 3]], "two rounds, a row each"
    assert state["step"] == 4 * STEPS, "the third round of the phase is not needed"
    assert not [row for row in rows if "alpha/loss" in row and row["step"] > 2 * STEPS], "its alphas rest"


def test_what_is_masked_does_not_come_back(whole: Any) -> None:
    searched, _, _ = whole("mask")
    (table, *_) = searched.net.space.tables
    strengths = searched.net.strengths()[table.name]
    assert all(p == 0 for row in strengths for p in row[::2])
    searched, _, _ = whole("fix")
    assert searched.net.masks()[table.name][0] == tuple(o == 3 for o in range(table.shape[1]))


def test_what_is_frozen_stays_to_the_bit(tmp_path: Path, whole: Any) -> None:
    searched, _, _ = whole("freeze")
    run_search(config(tmp_path, "freeze"), until=2 * STEPS)
    before = final_state(tmp_path)["program"]["bilevel"]["net"]
    after = searched.net.state_dict()
    frozen = {name for name, p in searched.net.named_parameters() if not p.requires_grad}
    assert {"alpha.normal"} < frozen
    assert len(frozen) > 1
    for name in frozen:
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["alpha.reduce"], after["alpha.reduce"])


def test_a_stop_returns_the_earlier_genotype(whole: Any) -> None:
    searched, state, rows = whole("stop")
    assert state["step"] == 2 * STEPS
    first = next(row for row in rows if "genotype/hash" in row)
    assert searched.genotype.hash == first["genotype/hash"]


def test_a_rollback_goes_on_from_the_earlier_state(whole: Any) -> None:
    _, state, rows = whole("rollback")
    course = Course.of(state["program"]["course"])
    assert course.shift == 1
    assert course.settings == {"weights.weight_decay": 0.01}
    assert state["step"] == 4 * STEPS, "the epoch that was undone is done again"
    rates = [row["lr"] for row in rows if "lr" in row]
    assert rates[1] == rates[2] != rates[0], "the second epoch of the plan, twice"
    assert len(state["program"]["past"]) == 2


def test_children_of_a_branch_start_from_one_parent(whole: Any) -> None:
    searched, state, rows = whole("branch")
    course = Course.of(state["program"]["course"])
    assert [len(course.phases), course.ended, len(course.candidates)] == [3, [2, 1, 1], 2]
    best = max(course.candidates, key=lambda candidate: candidate[1])[0]
    assert searched.genotype == best
    values = [row["val/top1"] for row in rows if "val/top1" in row]
    assert [metric for _, metric in course.candidates] == values[2:]


def test_the_selection_may_end_a_search_early(whole: Any) -> None:
    _, state, _ = whole("done")
    assert state["step"] == 2 * STEPS


def test_a_phase_as_plain_values() -> None:
    phase = Phase(2, {"layers": 5}, 3, {"normal": ((True, False),)}, frozenset({"weights"}), "parent")
    assert phase_from(phase.plain()) == phase


@pytest.mark.parametrize("what", ["mask", "fresh"])
def test_a_captured_step_is_made_anew_where_a_verdict_or_a_phase_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Replayed as a graph would, with the bits of plain steps: a graph from before would still run what is gone."""
    states = []
    for graphs in (None, NotedGraphs()):
        monkeypatch.setattr(phases, "CapturedStep", partial(CapturedStep, graphs=graphs))
        root = tmp_path / ("plain" if graphs is None else "captured")
        settings = {"epochs": 4, "executor": "reference", "guard": {"skips": 0}, "data": {"limit": 96}}
        run_search(search_config(root, "darts", "darts_first_order", **settings, method={"name": "toy", **WHAT[what]}))
        states.append(final_state(root))
        assert graphs is None or graphs.captures >= 2, "once before, and once behind"
    same(*states)
