"""Run folders: the identity of a run, finding it again, refusing another's, whole files."""

import dataclasses
import json
import os
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supernet import files
from supernet.config import DataConfig, RetrainConfig, RunConfig, SearchConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.runs.identity import identity
from supernet.runs.names import data_label
from supernet.runtime.device import autocast, available, pick, seed_everything, versions

FREE = {
    "device", "capture", "data.root", "data.labels", "data.workers", "data.download", "data.resident", "genotype",
    "space.allow", "allow",
}  # fmt: skip
FREE_GROUPS = ("run.", "checkpoint.", "log.", "guard.")
# Values that differ from every default and that the checks of the dataclasses allow.
OTHER = {
    "amp": "bf16",
    "capture": "off",
    "dead_cells": "neighbour",
    "data.resident": "off",
    "speed.channels_last": "on",
    "speed.compile": "on",
    "speed.fused": "on",
    "run.allow_changes": ["epochs"],
    "allow": ["mypkg"],
    "space.allow": ["mypkg"],
    "weights.min_lr": 0.002,
    "data.in_chans": 3,
    "alpha_share": 0.25,
    "method.order": "weight_first",
    "val_fraction": 0.2,
}


def _leaves(config: Any, where: str = "") -> typing.Iterator[tuple[str, typing.Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{where}{field.name}.")
        else:
            yield where + field.name, value


def _other(path: str, value: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 3 if isinstance(value, int) else value / 2 if value else 0.125
    if isinstance(value, dict):
        return value | {"other": 1}
    if isinstance(value, list):
        return [*value, "other"]
    return "other" if value is None or isinstance(value, str) else pytest.fail(f"no other value for {path}")


def _with(config: Any, path: str, value: Any) -> Any:
    head, _, rest = path.partition(".")
    return dataclasses.replace(config, **{head: _with(getattr(config, head), rest, value) if rest else value})


def _typed_other(config: Any, path: str, value: Any) -> Any:
    try:
        return _with(config, path, _other(path, value))
    except (SupernetError, TypeError):  # None stands for a number here
        return _with(config, path, 5)


@pytest.mark.parametrize(("config", "stage"), [(SearchConfig(), "search"), (RetrainConfig(genotype="g"), "retrain")])
def test_identity_is_every_setting_but_paths_device_and_logging(config: Any, stage: str) -> None:
    label = None if stage == "search" else "DARTS_V2"
    base = identity(config, stage, label)[1]
    seen = {base}
    for path, value in _leaves(config):
        digest = identity(_typed_other(config, path, value), stage, label)[1]
        if path in FREE or path.startswith(FREE_GROUPS):
            assert digest == base, f"{path} must not change the identity"
        else:
            assert digest not in seen, f"{path} must change the identity"
            seen.add(digest)
    assert len(seen) > 20


def test_identity_details() -> None:
    wanted, digest = identity(SearchConfig(), "search")
    assert len(digest) == 8 and int(digest, 16) >= 0
    assert json.loads(json.dumps(wanted)) == wanted
    one, same = SearchConfig(weights=WeightConfig(lr=1)), SearchConfig(weights=WeightConfig(lr=1.0))
    assert identity(one, "search") == identity(same, "search")
    assert identity(SearchConfig(), "search", "mine")[1] != digest
    first, second = (identity(RetrainConfig(genotype="a"), "retrain", label)[1] for label in ("x", "y"))
    assert first != second
    with pytest.raises(SupernetError, match="label"):
        identity(RetrainConfig(genotype="a"), "retrain")
    with pytest.raises(SupernetError, match="network.width"):
        identity(SearchConfig(network={"width": float("nan")}), "search")


def test_data_named_by_a_path() -> None:
    def digest(**data: Any) -> str:
        return identity(SearchConfig(data=DataConfig(**data)), "search")[1]

    assert data_label(DataConfig(name="folder", root="/a/flowers/")) == "folder:flowers"
    assert digest(name="folder", root="/a/flowers") == digest(name="folder", root="/b/c/flowers")
    assert digest(name="folder", root="/a/flowers") != digest(name="folder", root="/a/birds")
    assert digest(name="/a/flowers") == digest(name="/b/flowers") != digest(name="/b/birds")
    assert data_label(DataConfig(name="torch/cifar10", root="/a")) == "torch/cifar10"


def test_the_same_command_finds_its_folder(tmp_path: Path) -> None:
    config = SearchConfig(seed=7, run=RunConfig(root=str(tmp_path)))
    run = RunFolder.open(config, "search", prefix="darts-darts-digits-s7")
    digest = identity(config, "search")[1]
    assert run.path.name == f"darts-darts-digits-s7-{digest}"
    stored = json.loads((run.path / "config.json").read_text())
    assert stored["config"] == dataclasses.asdict(config) and stored["hash"] == digest
    again = RunFolder.open(dataclasses.replace(config, device="cpu"), "search", prefix="darts-darts-digits-s7")
    assert again.path == run.path
    noted = json.loads((run.path / "version.json").read_text())
    assert noted["torch"] == str(torch.__version__) and noted["resumed"] == []
    retrain = RetrainConfig(genotype=str(run.genotype_path), run=config.run)
    label = "0123456789abcdef"
    named = RunFolder.open(retrain, "retrain", label, prefix=f"retrain-{label}-digits-s0").path.name
    assert named.startswith("retrain-0123456789abcdef-digits-s0-")


def test_other_versions_are_noted_on_resume(tmp_path: Path) -> None:
    config = SearchConfig(run=RunConfig(root=str(tmp_path)))
    path = RunFolder.open(config, "search").path / "version.json"
    old = json.loads(path.read_text()) | {"torch": "1.0"}
    path.write_text(json.dumps(old))
    for _ in range(2):
        RunFolder.open(config, "search")
    noted = json.loads(path.read_text())
    assert noted["torch"] == "1.0" and [entry["torch"] for entry in noted["resumed"]] == [str(torch.__version__)]


def test_finish(tmp_path: Path) -> None:
    config = SearchConfig(run=RunConfig(root=str(tmp_path)))
    run = RunFolder.open(config, "search")
    assert not run.finished
    run.finish({"accuracy": np.float64(0.5), "loss": float("nan"), "steps": torch.tensor(3)})
    again = RunFolder.open(config, "search")
    assert again.finished and again.result == {"accuracy": 0.5, "loss": "NaN", "steps": 3}


def test_fresh_moves_aside_and_deletes_nothing(tmp_path: Path) -> None:
    config = SearchConfig(run=RunConfig(root=str(tmp_path), name="a"))
    fresh = dataclasses.replace(config, run=RunConfig(root=str(tmp_path), name="a", fresh=True))
    for number in range(3):
        run = RunFolder.open(fresh, "search")
        assert not run.finished
        run.finish({"number": number})
    assert RunFolder.open(config, "search").result == {"number": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.old-1", "a.old-2"]
    assert RunFolder(tmp_path / "a.old-1").result == {"number": 0}


def test_another_run_of_that_name_is_refused(tmp_path: Path) -> None:
    mine = SearchConfig(seed=1, run=RunConfig(root=str(tmp_path), name="a"), network={"channels": 4})
    RunFolder.open(mine, "search")
    other = dataclasses.replace(mine, seed=2, weights=WeightConfig(lr=0.5), network={})
    with pytest.raises(SupernetError) as caught:
        RunFolder.open(other, "search")
    text = str(caught.value)
    assert "seed 1 -> 2" in text and "weights.lr 0.025 -> 0.5" in text and "network.channels 4 -> (unset)" in text
    assert "run.fresh=true" in text and "run.name" in text and "\n" not in text and "epochs" not in text
    assert "allow_changes" not in text, "the seed may not change"
    with pytest.raises(SupernetError, match='stage "search" -> "retrain"'):
        RunFolder.open(RetrainConfig(genotype="g", run=mine.run), "retrain", "g")


def test_allowed_changes(tmp_path: Path) -> None:
    """Only those that are named, and the run knows itself again with them; the hash in its checkpoints stays."""
    mine = SearchConfig(run=RunConfig(root=str(tmp_path), name="a"))
    run = RunFolder.open(mine, "search")
    began = run.config["hash"]
    run.finish({"accuracy": 0.5})
    longer = dataclasses.replace(mine, epochs=80, weights=WeightConfig(lr=0.5))
    with pytest.raises(
        SupernetError, match=r"epochs 50 -> 80.*run.allow_changes=\[epochs,weights.lr\] goes on with it"
    ):
        RunFolder.find_finished(longer, "search")
    allowed = dataclasses.replace(longer, run=dataclasses.replace(mine.run, allow_changes=["epochs"]))
    with pytest.raises(SupernetError, match="another run"):
        RunFolder.open(allowed, "search")
    assert run.finished
    allowed = dataclasses.replace(longer, run=dataclasses.replace(mine.run, allow_changes=["weights.lr", "epochs"]))
    assert RunFolder.find_finished(allowed, "search") is None
    with RunFolder.open(allowed, "search", lock=True) as run:
        assert not run.finished and json.loads((run.path / "result.old-1.json").read_text()) == {"accuracy": 0.5}
        with pytest.raises(SupernetError, match="in use"):
            RunFolder.open(longer, "search", lock=True)
    again = RunFolder.open(longer, "search")  # it need not be allowed twice
    assert again.config["hash"] == began and again.config["config"]["epochs"] == 80
    assert again.config["changes"] == [{"epochs": "50 -> 80", "weights.lr": "0.025 -> 0.5"}]
    with pytest.raises(SupernetError, match="epochs 80 -> 50"):
        RunFolder.open(mine, "search")
    with pytest.raises(SupernetError, match=r"unknown setting in run.allow_changes 'epoch'; did you mean 'epochs'"):
        RunConfig(allow_changes=["epoch"])


@pytest.mark.parametrize("name", ["", "..", "../x", "/abs", "."])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(SupernetError, match="run.name"):
        RunFolder.open(SearchConfig(run=RunConfig(root=str(tmp_path), name=name)), "search")


def test_unusable_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SupernetError, match="cannot use the run folder"):
        RunFolder.open(SearchConfig(run=RunConfig(root=str(tmp_path), name="file")), "search")
    assert (tmp_path / "file").read_text() == "mine"
    config = SearchConfig(run=RunConfig(root=str(tmp_path), name="a"))
    (RunFolder.open(config, "search").path / "config.json").write_text('{"hash": ')
    with pytest.raises(SupernetError, match=r"config.json is damaged"):
        RunFolder.open(config, "search")


def test_atomic_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"x": [1, float("inf"), -float("inf")], "p": tmp_path})
    assert json.loads(path.read_text()) == {"x": [1, "Infinity", "-Infinity"], "p": str(tmp_path)}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"x": 2})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(TypeError, match="object"):
        files.plain({"x": object()})


def test_sweep_leaves_living_writers_alone(tmp_path: Path) -> None:
    parent = os.getppid()
    for name in (f".tmp-{parent}-alive", f".tmp-{2**22 + 5}-dead", f".tmp-{os.getpid()}-mine", "data"):
        (tmp_path / name).mkdir()
    files.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".tmp-{parent}-alive", "data"]


def test_device() -> None:
    assert pick("cpu").type == "cpu" and pick().type in ("cpu", "cuda")
    with pytest.raises(SupernetError, match="did you mean 'cpu'"):
        pick("cpuu")
    with pytest.raises(SupernetError, match="not on this machine; it has auto, cpu"):
        pick("cuda:99")
    one, two = torch.ones(2, 2), torch.ones(2, 2)
    with autocast(torch.device("cpu"), "bf16"):
        assert (one @ two).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "off"):
        assert (one @ two).dtype == torch.float32
    with pytest.raises(SupernetError, match="bf16"):
        autocast(torch.device("cpu"), "fp16")
    assert available()[:2] == ["auto", "cpu"] and versions()["cores"] >= 1


def test_seeds() -> None:
    draws = []
    for seed in (0, 1, 2**40, 2**40, 2**63 - 1):
        seed_everything(seed)
        draws.append((np.random.rand(), torch.rand(1).item()))
    assert draws[2] == draws[3] and len({a for a, _ in draws}) == 4
    assert draws[0][1] != draws[1][1]
