"""Planned phases: what each stage has, how long it lasts, and that a stage drops what was weakest."""

from pathlib import Path
from typing import Any

import pytest

from supernet.config import MethodConfig, SearchConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.methods import Method
from supernet.methods.connector.skip_dropout import SkipDropout
from supernet.methods.part import Clock
from supernet.methods.schedule.p_darts import PDarts
from supernet.methods.schedule.then_select import ThenSelect
from supernet.stages.run_search import run_search
from supernet.train.phases import planned
from tests.support.searches import search_config

BOTH, ALONE = {"weights", "alphas"}, {"weights"}


def test_three_stages_of_deeper_networks_with_fewer_operations() -> None:
    phases = PDarts().phases(SearchConfig(epochs=75))
    assert [phase.epochs for phase in phases] == [10, 15] * 3
    assert [phase.network["layers"] for phase in phases] == [5, 5, 11, 11, 17, 17]
    assert [phase.keep for phase in phases] == [8, None, 5, None, 3, None]
    assert [set(phase.learns) for phase in phases] == [ALONE, BOTH] * 3
    assert [phase.starts_from for phase in phases] == ["inherit", "inherit", "fresh", "inherit", "fresh", "inherit"]
    assert sum(phase.epochs for phase in PDarts().phases(SearchConfig(epochs=11))) == 11
    assert [phase.epochs for phase in PDarts(warmup=0).phases(SearchConfig(epochs=6))] == [2, 2, 2]
    with pytest.raises(SupernetError, match="3 stages, and epochs=2 are fewer"):
        PDarts().phases(SearchConfig(epochs=2))


def test_stages_drop_the_weakest_and_skips_more_often(tmp_path: Path) -> None:
    method: dict[str, Any] = {
        "schedule": {"name": "p_darts", "layers": [3, 4], "keep": [5, 2], "warmup": 0.0},
        "connectors": [{"name": "skip_dropout", "stages": [0.1, 0.6]}],
    }
    found = run_search(search_config(tmp_path, "darts", "darts_first_order", method=method, executor="torch"))
    assert found.done
    assert len([True for module in found.net.body.modules() if type(module).__name__ == "MixedCell"]) == 4
    for table in found.net.space.tables:
        assert [sum(row) for row in found.net.masks()[table.name]] == [2] * len(table.rows)


def test_each_stage_has_its_rate() -> None:
    part, rates = SkipDropout(stages=(0.1, 0.4), decay=0.5), []
    for stage in range(3):
        for epoch in range(2):
            part.prepare(Clock(epoch=epoch, epochs=2, stage=stage))
            rates.append(float(part.rate))
    assert rates == pytest.approx([0.1, 0.05, 0.4, 0.2, 0.4, 0.2])


@pytest.mark.parametrize(
    ("tuning", "warmup", "epochs", "learners"),
    [(0, 0, 4, [(3, BOTH), (1, {*BOTH, "selection"})]), (0, 3, 4, [(3, ALONE), (1, {*BOTH, "selection"})]),
     (5, 1, 4, [(1, ALONE), (3, BOTH), (5, {*BOTH, "selection"})])],
)  # fmt: skip
def test_a_selection_comes_last(tuning: int, warmup: int, epochs: int, learners: list[tuple[int, set[str]]]) -> None:
    config = SearchConfig(epochs=epochs, method=MethodConfig(warmup_epochs=warmup), weights=WeightConfig(lr=0.1))
    phases = ThenSelect(tuning).phases(config)
    assert [(phase.epochs, set(phase.learns)) for phase in phases] == learners
    assert [dict(phase.settings) for phase in phases[:-1]] == [{}] * (len(phases) - 1)
    assert dict(phases[-1].settings) == ({"weights.lr": pytest.approx(0.01)} if tuning else {})
    with pytest.raises(SupernetError, match="it must be less"):
        ThenSelect().phases(SearchConfig(epochs=1, method=MethodConfig(warmup_epochs=1)))


def test_a_plan_follows_the_schedule() -> None:
    config = SearchConfig(epochs=9, method=MethodConfig(schedule="p_darts"))
    assert planned(config, Method(config.method)) == list(PDarts().phases(config))
