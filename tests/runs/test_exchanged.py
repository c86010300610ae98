"""Two runs of equal settings on different data share a hash: their checkpoints are not exchanged without a word."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supernet.config import RetrainConfig, from_mapping
from supernet.errors import SupernetError
from supernet.runs import manifest
from supernet.runs.folder import RunFolder
from supernet.runs.same_data import FILE, noted_digest
from supernet.stages import STAGES
from supernet.stages.run_export import run_export
from supernet.stages.run_retrain import run_retrain
from supernet.train.trained import trained_network

TINY: dict[str, Any] = {
    "genotype": "DARTS_V2", "epochs": 1, "batch_size": 4, "network": {"channels": 2, "layers": 3},
    "log": {"progress": False, "tensorboard": False},
}  # fmt: skip


def config(place: Path, shade: int) -> RetrainConfig:
    """A retraining on data called tiny, of two classes and this shade, in run folders below `place`."""
    for number, name in enumerate(("cat", "dog")):
        folder = place / "tiny" / "train" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(np.full((8, 8, 3), shade + 60 * number + i, dtype=np.uint8)).save(folder / f"{i}.png")
    data = {"name": "folder", "root": str(place / "tiny"), "image_size": 8}
    return from_mapping(RetrainConfig, {**TINY, "data": data, "run": {"root": str(place / "runs")}})


def test_weights_of_other_data_are_refused(tmp_path: Path) -> None:
    """On resuming, in the loading of the network, and in an export."""
    configs = [config(tmp_path / name, shade) for name, shade in (("one", 0), ("other", 90))]
    one, other = (run_retrain(settings).folder for settings in configs)
    assert one is not None and other is not None and one.name == other.name, "equal settings"
    assert RunFolder(one).hash == RunFolder(other).hash
    noted = [noted_digest(RunFolder(run)) for run in (one, other)]
    assert None not in noted and noted[0] != noted[1]
    trained_network(one)  # its own
    shutil.rmtree(one / "checkpoints")
    shutil.copytree(other / "checkpoints", one / "checkpoints")
    told = f"is of a run on other data .their record is {noted[1]}, that of this run is {noted[0]}"
    for read in (trained_network, lambda run: run_export(STAGES["export"].config(run=str(run)))):  # type: ignore[misc]
        with pytest.raises(SupernetError, match=told):
            read(one)
    (one / "result.json").unlink()
    with pytest.raises(SupernetError, match=told) as caught:
        run_retrain(configs[0])
    assert "\n" not in str(caught.value)
    again = replace(configs[0], run=replace(configs[0].run, fresh=True))
    assert run_retrain(again).done, "the way out that the line names"


def test_a_record_is_told_by_what_it_says(tmp_path: Path) -> None:
    """Spaces and the order of keys are none of it; a run from before has none, and nothing is compared."""
    run = RunFolder(tmp_path)
    assert noted_digest(run) is None
    (tmp_path / FILE).write_text('{"schema": 1, "splits": {}}')
    digest = noted_digest(run)
    (tmp_path / FILE).write_text('{"splits":{},\n"schema":1}')
    assert noted_digest(run) == digest and digest is not None and len(digest) == 16


def test_what_is_no_digest_is_damaged(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"step": 1, "best": True, "config": None, "versions": {"torch": "2"}}
    digest = manifest.seal(tmp_path, {}, **facts, data=[1])
    with pytest.raises(manifest.Damaged, match="'data' is .1., it must be of type str"):
        manifest.read(tmp_path, digest)
