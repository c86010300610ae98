"""A run is found by its settings, and compared with its data: others of that name, changed or gone are one line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.cli import main
from supernet.stages import run_search
from supernet.stages.same_data import FILE

pytestmark = pytest.mark.usefixtures("own_folder")
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
def run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, in a copy of that folder in which the test works; nothing may train again."""

    def untouched(*_: object) -> None:
        raise AssertionError("a finished run must not start again")

    shutil.copytree(finished, ".", dirs_exist_ok=True)
    monkeypatch.setattr(run_search, "run_search", untouched)
    (path,) = Path("runs").iterdir()
    return path


def ends(capsys: pytest.CaptureFixture[str], *more: str, code: int = 2) -> str:
    """What is told on stderr by the command, which must end with `code`."""
    capsys.readouterr()
    assert main([*COMMAND, *more]) == code
    out, error = capsys.readouterr()
    assert (out == "") is bool(code) and (not code or error.count("\n") == 1)
    return error


def test_the_same_data_give_the_result_and_say_when_it_ended(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / FILE).read_bytes()
    told = ends(capsys, code=0)
    year = "20[0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]"
    assert re.search(
        rf"{run} finished on {year}, this is its result; run.fresh=true, or another run.name, starts", told
    )
    assert "WARNING" not in told and (run / FILE).read_bytes() == before
    pictures("data/tiny/aside/../../elsewhere/tiny", "cat dog owl")
    assert "finished on" in ends(capsys, "data.root=data/elsewhere/tiny", code=0), "a copy is the same data"


def test_the_result_is_found_without_torch(run: Path) -> None:
    code = f"import sys, supernet.cli as c; c.main({COMMAND}); print({{'torch', 'timm', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_other_data_of_that_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures("other/tiny", "cat dog")
    assert ends(capsys, "data.root=other/tiny") == (
        f"error: the data of {run} are others now (data.root was data/tiny, is other/tiny): train: 'owl' is gone (4 "
        "images); run.fresh=true starts anew and moves the run aside, another run.name keeps both\n"
    )


def test_data_that_have_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/tiny/train/owl").rename("data/tiny/train/ant")
    assert "train: 'owl' is gone (4 images), train: 'ant' is new (4 images)" in ends(capsys)


def test_data_that_are_gone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data")
    told = ends(capsys)
    assert told.startswith("error: data.root=data/tiny is no folder; give data.root=PATH of the images of folder")
    assert f"what an earlier run gave is in {run}/result.json" in told


def test_a_test_split_that_came_later_is_no_data_of_a_search(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("data/tiny/train", "data/tiny/test")
    assert "finished on" in ends(capsys, code=0)


def test_a_run_from_before_opens_with_one_warning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / FILE).unlink()
    told = ends(capsys, code=0)
    assert told.count("WARNING") == 1 and f"{run} is from before data were compared" in told
    assert not (run / FILE).exists(), "nobody knows what it was trained on"


def test_a_stopped_run_does_not_go_on_with_other_data(
    finished: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor without a word where its record is missing; then it has one from here on."""
    shutil.copytree(finished, ".", dirs_exist_ok=True)
    (run,) = Path("runs").iterdir()
    (run / "result.json").unlink()
    Image.new("RGB", (8, 8)).save("data/tiny/train/cat/9.png")
    before = (run / "config.json").read_bytes()
    capsys.readouterr()
    assert main(COMMAND) == 2
    assert "train: 'cat' has 5 images, had 4; run.fresh=true starts anew" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before and not (run / "result.json").exists()
    Path("data/tiny/train/cat/9.png").unlink()
    record = json.loads((run / FILE).read_text())
    (run / FILE).unlink()
    assert main(COMMAND) == 0
    assert capsys.readouterr().err.count("is from before data were compared") == 1
    assert json.loads((run / FILE).read_text()) == record


def test_a_mistake_that_the_data_show_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    pictures("data/tiny", "cat dog")
    (Path("data/tiny/train/cat") / "bad.png").write_bytes(b"no picture")
    ends(capsys)
    (Path("data/tiny/train/cat") / "bad.png").unlink()
    ends(capsys, "++network.bogus=1")
    ends(capsys, "++network.in_chans=1")
    assert not Path("runs").exists()
    Path("runs/mine").mkdir(parents=True)
    ends(capsys, "++network.in_chans=1")
    assert [path.name for path in Path("runs").iterdir()] == ["mine"], "what was there stays"


def test_arrays_of_a_notebook() -> None:
    """All labels and the test images count too, not only the samples that the settings have a digest of."""
    import torch

    import supernet
    from supernet.errors import SupernetError

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
