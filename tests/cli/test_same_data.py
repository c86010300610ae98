"""A run is found by its settings, and compared with its data: others of that name, changed or gone are one line."""

import json
import logging
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import supernet
from supernet.cli import main
from supernet.cli.settings import register
from supernet.cli.validate import check
from supernet.errors import SupernetError
from supernet.runs.same_data import FILE
from supernet.stages import STAGES
from supernet.stages.run_search import run_search

pytestmark = pytest.mark.usefixtures("own_folder")
SEARCH = STAGES["search"]
COMMAND = [
    "search", "space=nasbench201", "network.channels=2", "network.cells_per_stage=1", "data=folder",
    "data.root=data/tiny", "data.image_size=8", "epochs=1", "batch_size=4", "executor=reference", "log.progress=false",
    "log.tensorboard=false",
]  # fmt: skip


def pictures(root: str, classes: str, count: int = 4) -> None:
    for number, name in enumerate(classes.split()):
        folder = Path(root) / "train" / name
        folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((8, 8, 3), 60 * number + i, dtype=np.uint8)).save(folder / f"{i}.png")


@cache
def composed() -> Any:
    register()
    return check(SEARCH, COMMAND[1:]).configs[0]


def config(root: str = "data/tiny") -> Any:
    """The settings of COMMAND, on the data at `root`."""
    return replace(composed(), data=replace(composed().data, root=root))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a search on them that has ended."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        pictures("data/tiny", "cat dog owl")
        assert main(COMMAND) == 0
    return place


@pytest.fixture
def run(finished: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """The run, in a copy of that folder in which the test works."""
    shutil.copytree(finished, ".", dirs_exist_ok=True)
    (path,) = Path("runs").iterdir()
    caplog.set_level(logging.INFO, "supernet")
    return path


def refused(root: str = "data/tiny") -> str:
    """The one line with which the command ends."""
    with pytest.raises(SupernetError) as caught:
        SEARCH.found(config(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_same_data_give_the_result_and_say_when_it_ended(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = (run / FILE).read_bytes()
    pictures("elsewhere/tiny", "cat dog owl")
    for root in ("data/tiny", "elsewhere/tiny"):  # a copy is the same data
        caplog.clear()
        found = SEARCH.found(config(root))
        assert found is not None and found.path == run
        (told,) = caplog.messages
        ended = "finished on 20[0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9], this is its result; "
        assert re.fullmatch(rf"{run} {ended}run.fresh=true, or another run.name, starts anew", told)
    assert (run / FILE).read_bytes() == before


def test_the_command_finds_it_without_torch(run: Path) -> None:
    code = f"import sys, supernet.cli as c; c.main({COMMAND}); print({{'torch', 'timm', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"run folder           {run}\n") and done.stdout.endswith("set()\n"), done.stderr
    assert done.stderr.count("\n") == 1 and "finished on" in done.stderr


def test_other_data_of_that_name(run: Path) -> None:
    pictures("other/tiny", "cat dog")
    assert refused("other/tiny") == (
        f"the data of {run} are others now (data.root was data/tiny, is other/tiny): train: 'owl' is gone (4 images); "
        "run.fresh=true starts anew and moves the run aside, another run.name keeps both"
    )


def test_data_that_have_changed(run: Path) -> None:
    Path("data/tiny/train/owl").rename("data/tiny/train/ant")
    assert "train: 'owl' is gone (4 images), train: 'ant' is new (4 images)" in refused()


def test_data_that_are_gone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data")
    assert main(COMMAND) == 2
    assert capsys.readouterr().err == (
        "error: data.root=data/tiny is no folder; give data.root=PATH of the images of folder; what an earlier run "
        f"gave is in {run}/result.json\n"
    )


def test_a_test_split_that_came_later_is_no_data_of_a_search(run: Path) -> None:
    shutil.copytree("data/tiny/train", "data/tiny/test")
    assert SEARCH.found(config()) is not None


def test_a_run_from_before_opens_with_one_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / FILE).unlink()
    assert SEARCH.found(config()) is not None
    (told,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == f"{run} is from before data were compared: whether its data have changed is not known"
    assert not (run / FILE).exists(), "nobody knows what it was trained on"


def test_a_stopped_run_does_not_go_on_with_other_data(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor without a word where its record is missing; then it has one from here on."""
    (run / "result.json").unlink()
    Image.new("RGB", (8, 8)).save("data/tiny/train/cat/9.png")
    before = (run / "config.json").read_bytes()
    with pytest.raises(SupernetError, match="train: 'cat' has 5 images, had 4; run.fresh=true starts anew"):
        run_search(config())
    assert (run / "config.json").read_bytes() == before and not (run / "result.json").exists()
    Path("data/tiny/train/cat/9.png").unlink()
    record = json.loads((run / FILE).read_text())
    (run / FILE).unlink()
    shutil.copytree("data/tiny/train", "data/tiny/val")
    with pytest.raises(SupernetError, match="data/tiny/val was no part of the training, and is its validation part"):
        run_search(config())
    shutil.rmtree("data/tiny/val")
    caplog.clear()
    run_search(config())
    assert caplog.text.count("is from before data were compared") == 1
    assert json.loads((run / FILE).read_text()) == record


def test_a_mistake_that_the_data_show_leaves_no_folder() -> None:
    pictures("data/tiny", "cat dog")
    bad = Path("data/tiny/train/cat/bad.png")
    bad.write_bytes(b"no picture")
    with pytest.raises(SupernetError, match="bad.png cannot be read"):
        run_search(config())
    bad.unlink()
    misfit = replace(config(), network={"channels": 2, "cells_per_stage": 1, "in_chans": 1})
    with pytest.raises(SupernetError, match="cannot take samples"):
        run_search(misfit)
    assert not Path("runs").exists()
    Path("runs/mine").mkdir(parents=True)
    with pytest.raises(SupernetError, match="cannot take samples"):
        run_search(misfit)
    assert [path.name for path in Path("runs").iterdir()] == ["mine"], "what was there stays"


def test_arrays_of_a_notebook() -> None:
    """All labels and the test images count too, not only the samples that the settings have a digest of."""
    x, y = torch.rand(300, 1, 8, 8), torch.arange(300) % 2
    settings = {"epochs": 1, "batch_size": 100, "network": {"channels": 2, "layers": 3}, "run": "runs/mine"}

    def retrain(labels: torch.Tensor, test: torch.Tensor) -> float:
        trained = supernet.retrain(
            "DARTS_V2", (x, labels), (x[:20], y[:20]), (test, y[:20]), log={"progress": False}, **settings
        )
        return trained.metrics["test/top1"]

    first = retrain(y, x[:20])
    assert retrain(y.clone(), x[:20]) == first
    with pytest.raises(SupernetError, match="the data of runs/mine are others now: test: other content under the same"):
        retrain(y, x[20:40])
    other = y.clone()
    other[[1, 2]] = other[[2, 1]]  # neither is among the samples
    with pytest.raises(SupernetError, match="the data of runs/mine are others now: train: other content"):
        retrain(other, x[:20])


def test_a_run_of_before_whose_classes_had_other_numbers_does_not_go_on(tmp_path: Path) -> None:
    """Training on with exchanged labels would be worse than beginning anew."""
    from supernet.config import DataConfig
    from supernet.errors import SupernetError
    from supernet.runs.folder import RunFolder
    from supernet.runs.same_data import refuse_other_reading

    for name in ("1", "2", "10"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    run, data = RunFolder(tmp_path / "run"), DataConfig(name="folder", root=str(tmp_path / "data"))
    with pytest.raises(SupernetError, match="numbered the classes 1, 2, 10 .* in that order"):
        refuse_other_reading(run, data)
    (tmp_path / "data" / "train" / "10").rename(tmp_path / "data" / "train" / "3")
    refuse_other_reading(run, data)
