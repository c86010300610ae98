"""What a search says of itself: numbers that are none, alphas that decided nothing, cells that pass nothing on."""

import json
import logging
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import supernet
from supernet.data.splits import open_data
from supernet.errors import NumbersError, SupernetError
from supernet.methods.phase import Phase
from supernet.methods.verdict import Enter
from supernet.runs.log import read_metrics
from supernet.runtime.ranks import Ranks
from supernet.space import Genotype, get_space
from supernet.stages.run_search import run_search
from supernet.stages.running import task_of
from supernet.tasks.compare import beats, finite, rank
from supernet.train.compatibility import refuse_idle_cells
from supernet.train.course import Course
from supernet.train.phases import Phases
from tests.support.searches import STEPS, search_config

NAN, INF = float("nan"), float("inf")
QUIET: dict[str, Any] = {"log": {"progress": False, "tensorboard": False}}
TINY: dict[str, Any] = {"epochs": 2, "batch_size": 8, "network": {"channels": 2, "layers": 3}, **QUIET}


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 1, 8, 8)).astype(np.float32), np.arange(count) % 4


def test_nan_beats_nothing() -> None:
    for maximise in (True, False):
        assert not beats(NAN, 0.5, maximise)
        assert beats(0.5, NAN, maximise)
        assert not beats(NAN, NAN, maximise, ties=True)
        assert not beats(0.5, 0.5, maximise)
        assert beats(0.5, 0.5, maximise, ties=True)
        assert beats(0.6, 0.5, maximise) is maximise
        assert max([NAN, 0.3, 0.7], key=lambda value: rank(value, maximise)) == (0.7 if maximise else 0.3)
    metrics = {"val/top1": 0.25, "val/loss": NAN, "train/loss": 1.0}
    assert np.isnan(finite(metrics, "val/top1")), "a network of NaN is right about class 0"
    assert finite({**metrics, "val/loss": 1.0, "train/loss": NAN}, "val/top1") == 0.25


@pytest.mark.parametrize("value", [NAN, pytest.param(INF, marks=pytest.mark.long)])
def test_a_sample_that_is_not_finite_is_named_after_its_first_epoch(tmp_path: Path, value: float) -> None:
    (x, y), (val_x, val_y) = pictures(16), pictures(16)
    val_x[5, 0, 3, 3] = value
    space = get_space("darts", nodes=1)
    for _ in range(2):  # a repetition says the same
        expected = r"after epoch 1 of seed 0 .*val/loss.* not finite: .*samples 5 are not"
        with pytest.raises(NumbersError, match=expected) as error:
            supernet.search(space, (x, y), (val_x, val_y), run=tmp_path / "run", **TINY)
        assert "\n" not in str(error.value)
    assert json.loads((tmp_path / "run" / "nan_report.json").read_text())["inputs"] == [5]
    val_x[5] = 0
    assert supernet.search(space, (x, y), (val_x, val_y), run=tmp_path / "mended", **TINY).done


def test_a_first_epoch_of_nan_does_not_stay_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet.train import retrain

    real, calls = retrain.evaluate, []

    def evaluate(*args: Any, **kwargs: Any) -> dict[str, float]:
        calls.append(1)
        metrics = real(*args, **kwargs)
        return {**metrics, "loss": NAN, "top1": 1.0} if len(calls) == 1 else metrics

    monkeypatch.setattr(retrain, "evaluate", evaluate)
    genotype = get_space("darts", nodes=1).sample(random.Random(0))
    trained = supernet.retrain(genotype, pictures(16), pictures(16), **{**TINY, "epochs": 3})
    assert trained.metrics["epoch"] > 0
    assert np.isfinite(trained.metrics["val/loss"])


def test_a_retraining_without_a_finite_epoch_is_no_success(tmp_path: Path) -> None:
    x, y = pictures(16)
    bad = x.copy()
    bad[3] = NAN
    genotype = get_space("darts", nodes=1).sample(random.Random(0))
    with pytest.raises(NumbersError, match="val/loss was finite in none of the 2 epochs"):
        supernet.retrain(genotype, (x, y), (bad, y), run=tmp_path / "run", **TINY)
    assert not (tmp_path / "run" / "result.json").exists()


def test_warnings_reach_the_screen_beside_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from supernet.runs.text_log import TextLog

    root, handlers = logging.getLogger(), logging.getLogger().handlers
    root.handlers = []
    try:
        log = TextLog(tmp_path / "run.log")
        logging.getLogger("supernet.x").warning("mind this")
        log.close()
    finally:
        root.handlers = handlers
    assert "mind this" in capsys.readouterr().err
    assert "mind this" in (tmp_path / "run.log").read_text()


def test_alphas_that_decided_nothing_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run_search(search_config(tmp_path, "darts", "darts_first_order"))
    (note,) = [record.getMessage() for record in caplog.records if "uniform" in record.getMessage()]
    assert "epochs=2" in note and "alphas.lr=0.0003" in note
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["note"] == [note]
    assert len(result["closest"]) == 3 and all("margin" in text for text in result["closest"])
    rows = read_metrics(tmp_path / "run" / "architectures.jsonl")
    assert result["margins"] == rows[-1]["margins"], "each decision has its margin at the end too"
    assert [row["step"] for row in rows] == [STEPS, 2 * STEPS]
    assert Genotype.from_json(json.dumps(rows[-1]["genotype"])) == Genotype.load(tmp_path / "run" / "genotype.json")
    assert set(rows[-1]["alphas"]) == {"normal", "reduce"} and len(rows[-1]["margins"]) == 4
    caplog.clear()
    alphas = {"lr": 0.5}
    with caplog.at_level(logging.WARNING):
        run_search(search_config(tmp_path / "other", "darts", "darts_first_order", alphas=alphas))
    assert not [record for record in caplog.records if "uniform" in record.getMessage()]


def test_a_dead_cell_is_named_and_retrained_with_consent_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = get_space("nasbench201").genotype({f"cell/{i}-{j}": "none" for j in (1, 2, 3) for i in range(j)})
    monkeypatch.setattr("supernet.train.phases.Phases.genotype", lambda phases: dead)
    named = run_search(search_config(tmp_path / "name", "nasbench201", "darts_first_order"))
    assert named.genotype == dead
    assert f"genotype {dead.hash}: cell 'cell' has no path from its input to its output" in caplog.text
    assert caplog.text.count("has no path") == 2, "once when it is projected, once at the end"
    rows = [row for row in read_metrics(tmp_path / "name" / "run" / "metrics.jsonl") if "val/loss" in row]
    assert [row["genotype/dead"] for row in rows] == [1, 1]
    alive = run_search(search_config(tmp_path / "near", "nasbench201", "darts_first_order", dead_cells="neighbour"))
    assert alive.genotype.decisions["cell/0-3"] != "none"
    with pytest.raises(SupernetError, match="allow_dead=true retrains it all the same"):
        supernet.retrain(dead, pictures(16), **QUIET, epochs=1, batch_size=8)
    small = {"channels": 2, "cells_per_stage": 1}
    assert supernet.retrain(dead, pictures(16), allow_dead=True, network=small, epochs=1, batch_size=8, **QUIET).done


@pytest.mark.parametrize("layers", [1, 2])
def test_a_network_without_a_normal_cell_is_refused_before_a_folder_is_made(tmp_path: Path, layers: int) -> None:
    config = search_config(tmp_path, "darts", "darts_first_order", network={"channels": 2, "layers": layers})
    with pytest.raises(SupernetError, match=f"network.layers={layers} has no normal cell of space 'darts'"):
        run_search(config)
    assert list(tmp_path.iterdir()) == []


IDLE = "phase 2: network.layers=2 has no normal cell of space 'darts'"


@pytest.mark.parametrize("learns", [{"weights", "alphas"}, {"weights", "selection"}, {"weights"}])
def test_the_network_of_each_phase_is_looked_at(learns: set[str]) -> None:
    """But not of one in which nothing is decided."""
    shallow = Phase(1, network={"layers": 2}, learns=frozenset(learns))
    course = Course([Phase(1), shallow, Phase(1, network={"layers": 4})])
    network = {"channels": 2, "layers": 3}
    with pytest.raises(SupernetError, match=IDLE) if learns != {"weights"} else nullcontext():
        refuse_idle_cells(get_space("darts"), network, course)
    refuse_idle_cells(get_space("darts"), network, course, since=2)


def test_a_schedule_and_a_verdict_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shallow = Phase(1, network={"layers": 2})
    config = search_config(tmp_path, "darts", "darts_first_order", network={"channels": 2, "layers": 3})
    monkeypatch.setattr("supernet.stages.run_search.planned", lambda *_: [Phase(1), shallow])
    with pytest.raises(SupernetError, match=IDLE):
        run_search(config)
    assert list(tmp_path.iterdir()) == [], "before a folder is made"
    monkeypatch.undo()
    splits = open_data(config.data, config.seed)
    course = Course([Phase(1), Phase(1)])
    phases = Phases(
        config, get_space("darts", nodes=1), splits.info, task_of(splits), torch.device("cpu"), Ranks(), course
    )
    with pytest.raises(SupernetError, match=IDLE):
        phases._carry_out(Enter((shallow,)), 0)
