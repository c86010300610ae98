"""`supernet compare` as a command: its runs are ordinary ones, found again and resumed, its table is what they say."""

import contextlib
import csv
import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pytest
from scipy import stats

from supernet import cost
from supernet.cli import main
from supernet.cli.run_stage import read
from supernet.data import digits
from supernet.errors import NumbersError, StoppedError, SupernetError
from supernet.runs.folder import RunFolder
from supernet.runs.signals import Interrupted
from supernet.space import Genotype, get_space
from supernet.space.zoo.nasbench201 import to_string
from supernet.stages import STAGES, run_retrain, run_search
from supernet.stages.compare.run_compare import run_compare

OPERATIONS = ["skip_connect", "nor_conv_1x1"]
TINY = [
    "space=nasbench201", f"space.args.operations=[{','.join(OPERATIONS)}]", "network.channels=2",
    "network.cells_per_stage=1", "+network.stages=1", "epochs=1", "batch_size=16", "data.limit=64", "alphas.lr=0.1",
    "log.tensorboard=false", "log.progress=false",
]  # fmt: skip
TOLERANCE = 0.75
FIRST, EXACT = "darts_first_order", "darts_exact"
WORDS = [
    f"methods=[{FIRST},{EXACT}]", "seeds=[0,3]", "random=2", f"tolerance={TOLERANCE}", "random_ws=off",
    "retrain.epochs=1", *TINY,
]  # fmt: skip


@dataclass
class Compared:
    """Where the comparison lies, and what was run when it was asked for three times."""

    root: Path
    ran: list[list[str]]

    @property
    def folder(self) -> Path:
        (found,) = self.root.glob("runs/compare-nasbench201-digits-*")
        return found

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / name, encoding="utf-8") as file:
            return list(csv.DictReader(file))


def count(patch: pytest.MonkeyPatch, refuse: Callable[[str], BaseException | None] = lambda name: None) -> list[str]:
    """What is run from now on, such as "search darts_exact 3"; `refuse` says what a run raises instead."""
    ran: list[str] = []
    for module, name in ((run_search, "run_search"), (run_retrain, "run_retrain")):
        real = getattr(module, name)

        def counted(config: Any, real: Any = real) -> Any:
            method = config.method.name if hasattr(config, "method") else "-"
            ran.append(f"{method} {config.seed}")
            if (error := refuse(ran[-1])) is not None:
                raise error
            return real(config)

        patch.setattr(module, name, counted)
    return ran


@cache
def settings(stage: str, *words: str) -> Any:
    """Composing takes a fifth of a second, and the settings are frozen."""
    (config,) = read(stage, words)
    return config


def compare(*words: str) -> RunFolder:
    """The comparison that the words ask for, in this folder."""
    return run_compare(settings("compare", *words), lambda stage, words: (settings(stage, *words),))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A comparison that was told to stop in its third run, went on, and was asked for once more."""
    result = Compared(tmp_path_factory.mktemp("compared"), [])
    stop = Interrupted(signal.SIGTERM)
    for refuse in (lambda name: stop if name == f"{FIRST} 3" else None, lambda name: None, lambda name: None):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Interrupted):
            patch.chdir(result.root)
            patch.setattr(digits, "read_digits", cache(digits.read_digits))  # dozens of times the same file
            result.ran.append(count(patch, refuse))
            compare(*WORDS)
    return result


def test_it_goes_on_where_it_was_stopped_and_repeats_nothing(compared: Compared) -> None:
    stopped, resumed, again = compared.ran
    assert stopped == [f"{FIRST} 0", f"{EXACT} 0", f"{FIRST} 3"]
    assert resumed[:2] == [f"{FIRST} 3", f"{EXACT} 3"], "the two that had ended are found"
    assert set(resumed[2:]) == {"- 0", "- 3"} and again == []


def test_its_runs_are_ordinary_ones(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the same words give the stages by themselves."""
    monkeypatch.chdir(compared.root)
    run = STAGES["search"].finished(settings("search", *TINY, f"method={EXACT}", "seed=3"))
    assert run is not None and str(run.path) in {row["search"] for row in compared.rows("runs.csv")}
    (row,) = [row for row in compared.rows("runs.csv") if row["name"] == EXACT and row["seed"] == "3"]
    words = [f"genotype={row['search']}", "seed=3", "epochs=1", "data.limit=64", *TINY[-2:]]
    again = STAGES["retrain"].finished(settings("retrain", *STAGES["retrain"].inherited(words), *words))
    assert again is not None and str(again.path) == row["retraining"]


def test_the_table_is_computed_by_hand(compared: Compared) -> None:
    runs = compared.rows("runs.csv")
    scores: dict[str, dict[str, Any]] = {name: {} for name in (FIRST, EXACT)}
    for row in runs:
        kept = RunFolder(compared.root / row["retraining"]).result
        assert (float(row["score"]), int(row["parameters"])) == (kept["metrics"]["test/top1"], kept["parameters"])
        if row["kind"] == "method":
            scores[row["name"]][row["seed"]] = row
    first, exact = ([float(scores[name][seed]["score"]) for seed in "03"] for name in (FIRST, EXACT))
    lines = {row["name"]: row for row in compared.rows("comparison.csv")}
    for name, own in ((FIRST, first), (EXACT, exact)):
        line, medians, bests = lines[name], [], []
        for seed in "03":
            served = [row for row in runs if row["seed"] == seed and name in row["name"].split()[2:]]  # random for ...
            cells = [float(row["score"]) for row in served]
            assert len(cells) == 2
            medians.append(median(cells))
            bests.append(max(cells))
        assert float(line["mean"]) == pytest.approx(fmean(own)) and float(line["spread"]) == pytest.approx(stdev(own))
        assert float(line["best_of_seeds"]) == max(own)
        assert float(line["random_median"]) == pytest.approx(fmean(medians))
        assert float(line["best_of_random"]) == pytest.approx(fmean(bests))
        differences = [a - b for a, b in zip(own, medians, strict=True)]
        assert float(line["to_random_median"]) == pytest.approx(fmean(differences))
        searched = sum(float(scores[name][seed]["search_seconds"]) for seed in "03")
        assert float(line["search_seconds"]) == pytest.approx(searched) and searched > 0
    assert lines[FIRST]["to_first"] == ""
    if stdev([a - b for a, b in zip(exact, first, strict=True)]):
        interval = stats.ttest_rel(exact, first).confidence_interval(0.95)
        assert float(lines[EXACT]["to_first_low"]) == pytest.approx(interval.low)
    assert lines[EXACT]["to_first_verdict"] == "within noise", "two seeds of one epoch tell nothing"


def test_controls_are_of_equal_parameters(compared: Compared) -> None:
    runs = compared.rows("runs.csv")
    own = {(row["name"], row["seed"]): int(row["parameters"]) for row in runs if row["kind"] == "method"}
    randoms = [row for row in runs if row["kind"] == "random"]
    for row in randoms:
        for method in row["name"].removeprefix("random for ").split():
            size = own[method, row["seed"]]
            assert abs(int(row["parameters"]) - size) <= TOLERANCE * size
    assert len({(row["seed"], row["genotype"]) for row in randoms}) == len(randoms), "each is retrained once a seed"
    assert "their parameters within 75 % of the method's" in (compared.folder / "comparison.md").read_text()


def test_what_is_written(compared: Compared) -> None:
    text = (compared.folder / "comparison.md").read_text()
    assert re.search(rf"\| {EXACT} \|.*\(best of 2\).*\*\*within noise\*\*", text)
    assert f"| to {FIRST} |" in text and "best of 2 random cells" in text and "Student's t" in text
    (row,) = json.loads((compared.folder / "comparison.json").read_text())["rows"]
    assert (row["metric"], len(row["runs"])) == ("test/top1", len(compared.rows("runs.csv")))
    collapse = compared.rows("collapse.csv")
    assert {(r["method"], r["seed"], r["epoch"]) for r in collapse} == {
        (name, seed, "1") for name in (FIRST, EXACT) for seed in "03"
    }
    assert all(0 <= float(r["mixing_skips"]) <= 1 and 0 < float(r["entropy"]) < 0.7 for r in collapse)
    shown = STAGES["compare"].rows(RunFolder(compared.folder))
    assert list(shown) == ["comparison", FIRST, EXACT] and shown[EXACT].endswith("to the first, within noise")
    for name in ("comparison.svg", "collapse.svg"):
        assert "</svg>" in (compared.folder / name).read_text()


def worth(string: str) -> float:
    """A score of an architecture, by its text."""
    return 90 + sum(index * (edge == "nor_conv_1x1") for index, edge in enumerate(re.findall(r"(\w+)~", string))) / 8


def test_scores_from_a_table_and_a_run_that_fails(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared.root)
    space = get_space("nasbench201", operations=OPERATIONS)
    lines = [f"{to_string(point)},{worth(to_string(point))}" for point in space.points()]
    Path("scores.csv").write_text("\n".join(["arch,acc", *lines]) + "\n")
    Path("scores.yaml").write_text(
        "space: nasbench201\narchitecture: {column: arch, spelling: nasbench201}\nmetrics: {acc: {columns: acc}}\n"
        "complete: true\n"
    )
    words = [*WORDS, "seeds=[0,3,7]", "table=scores.csv", "run.name=new"]
    fault = NumbersError("the loss is not finite")
    ran = count(monkeypatch, lambda name: fault if name.endswith("7") else None)
    with pytest.raises(StoppedError) as error:
        compare(*words)
    assert ran == [f"{FIRST} 7", f"{EXACT} 7"], "what the first comparison has searched is found"
    said = str(error.value)
    assert said.startswith("2 of the runs failed") and f"search by {FIRST} seed 7: the loss is not finite" in said
    tables = compared.root / "runs" / "new"
    with open(tables / "comparison.csv", encoding="utf-8") as file:
        first, exact = csv.DictReader(file)
    assert (first["seeds"], exact["seeds"], exact["to_first_pairs"]) == ("2", "2", "2")
    found = [row["search"] for row in compared.rows("runs.csv") if row["name"] == FIRST]
    by_hand = [worth(to_string(Genotype.load(compared.root / run / "genotype.json"))) for run in found]
    assert float(first["mean"]) == pytest.approx(fmean(by_hand))
    with open(tables / "runs.csv", encoding="utf-8") as file:
        randoms = [row for row in csv.DictReader(file) if row["kind"] == "random"]
    known = {point.hash: point for point in space.points()}
    for row in randoms:
        point = known[row["genotype"]]
        assert float(row["score"]) == worth(to_string(point)) and row["retraining"] == ""
        network = {"channels": 2, "cells_per_stage": 1, "stages": 1}
        assert int(row["parameters"]) == cost.parameters(point, space=space, **network)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("darts_exct", "unknown option of method: 'darts_exct'; did you mean 'darts_exact'"),
        ("drnas", "drnas: method.warmup_epochs=10 of epochs=1"),
    ],
)
def test_methods_that_cannot_run_are_refused_before_anything_runs(
    method: str, message: str, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(compared.root)
    before = sorted(Path("runs").iterdir())
    ran = count(monkeypatch)
    with pytest.raises(SupernetError, match=re.escape(message)):
        compare(f"methods=[{FIRST},{method}]", *WORDS[1:])
    assert ran == [] and sorted(Path("runs").iterdir()) == before


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *WORDS, "table=nowhere.csv"]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert error.startswith("error: nowhere.yaml is not there; a table needs a YAML")
