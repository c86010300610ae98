"""Run folders that the code of before made: found, resumed and opened by the commands that made them.

tests/fixtures/NOTES.md says how they were made. Floats are compared with a tolerance, since processors differ.
"""

import copy
import importlib
import json
import logging
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from supernet import cli
from supernet.network import build_from
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.log import read_metrics
from supernet.space import Genotype, Space
from supernet.train.trained import trained_network

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ENTRIES = {entry["name"]: entry for entry in json.loads((FIXTURES / "fixtures.json").read_text(encoding="utf-8"))}
FINISHED = [name for name, e in ENTRIES.items() if e["state"] == "finished" and e["stage"] != "export"]
STOPPED = [name for name, e in ENTRIES.items() if e["state"] == "stopped"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a copy of everything in it."""
    target = tmp_path / "place"
    shutil.copytree(FIXTURES, target, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(target)
    monkeypatch.syspath_prepend(target)
    monkeypatch.delitem(sys.modules, "api_net", raising=False)
    return target


def run(entry: dict[str, Any]) -> None:
    """The command that made the folder, or the call."""
    if entry["overrides"] is None:
        call = entry["python"].removeprefix("api_net.search(").removesuffix(")")
        folder, seed = call.split(", ")
        importlib.import_module("api_net").search(folder.strip("'"), int(seed))
    else:
        assert cli.main([entry["stage"], *entry["overrides"]]) == 0


def near(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            near(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            near(*pair, f"{where}[{i}]")
    else:
        assert one == other, where


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def since(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What runs wrote before; what has come since is left out, and what they called otherwise is put back."""
    kept = {}
    for name, value in before.items():
        if name == "alpha/entropy" and name not in now:  # the sum over all rows; it is `alpha/mean_entropy` now
            kept[name] = value
        elif name != "seconds":
            kept[name] = since(now[name], value) if isinstance(value, dict) else now[name]
    return kept


def genotype(path: Path) -> dict[str, Any]:
    return without(json.loads((path / "genotype.json").read_text(encoding="utf-8")), "origin")


def contents(place: Path) -> dict[str, bytes]:
    """Of the runs; a sweep's own multirun.yaml, and locks, which stay behind empty, are none."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for folder in ("runs", "sweep")
        for path in (place / folder).rglob("*")
        if path.is_file() and path.name not in ("multirun.yaml", ".lock")
    }


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_gives_its_result(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry, before = ENTRIES[name], contents(place)
    run(entry)
    lines = capsys.readouterr().out.splitlines()
    # What a number means is told since.
    printed = [re.sub(r"  \(share of skip .*\)$", "", line) for line in lines if not line.startswith("seconds")]
    before_moves = [line.replace("supernet.train.trained", "supernet.exporting") for line in printed]
    # The retraining takes the network's kind from the run, and the next command need not name it any more.
    assert before_moves == [line.removesuffix(" network=nasbench201") for line in entry.get("stdout", printed)]
    after = contents(place)
    if entry["overrides"] is None:  # called from Python it notes down the versions that opened it
        before, after = ({k: v for k, v in c.items() if not k.endswith("version.json")} for c in (before, after))
    assert after == before
    assert json.loads((place / entry["folder"] / "result.json").read_text()) == entry["expected"]
    assert genotype(place / entry["folder"]) == without(entry["expected_genotype"], "origin")


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_goes_on(
    name: str, place: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = ENTRIES[name]
    folder, expected = place / entry["folder"], place / "expected" / Path(entry["folder"]).name
    with caplog.at_level(logging.INFO):
        run(entry)
    log = caplog.text + capsys.readouterr().err  # the command sets up a log of its own
    assert log.count("resumed at step") == log.count(f"resumed at step {entry['resumes_at_step']}\n") == 1
    latest = Checkpoints(folder / "checkpoints").latest()
    assert latest is not None and latest[0] == entry["ends_at_step"]
    result, whole = (json.loads((path / "result.json").read_text(encoding="utf-8")) for path in (folder, expected))
    near(since(result, whole), without(whole, "seconds"))
    near(since(result, whole), without(copy.deepcopy(entry["expected"]), "seconds"))
    assert genotype(folder) == genotype(expected)
    rows, before = (read_metrics(path / "metrics.jsonl", time=False) for path in (folder, expected))
    near([since(*pair) for pair in zip(rows, before, strict=True)], before)


def outputs(model: torch.nn.Module) -> list[list[float]]:
    """What the opened network gives for the recorded input."""
    x = (torch.arange(128) % 17).float().reshape(2, 1, 8, 8) / 16
    with torch.no_grad():
        return model.eval()(x).tolist()


def test_an_exported_folder_is_opened_by_timm(place: Path) -> None:
    import timm

    import supernet.timm_models  # noqa: F401 - registers the model

    near(
        outputs(timm.create_model(f"local-dir:{place / 'exports' / 'darts'}", pretrained=True)),
        ENTRIES["export-darts"]["expected"]["outputs"],
    )


def test_an_exported_network_of_ones_own_is_opened(place: Path) -> None:
    folder, expected = place / "exports" / "small_net", ENTRIES["export-own"]["expected"]["outputs"]
    found = Genotype.load(folder / "genotype.json")
    model = build_from(Space.from_yaml("small_net.yaml"), found, in_chans=1, num_classes=10)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    near(outputs(model), expected)
    near(outputs(trained_network(ENTRIES["export-own"]["source"])), expected)
