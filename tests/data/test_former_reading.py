"""A stopped run of before does not go on with data that are read otherwise now; each way is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.config import DataConfig
from supernet.data.digests.former_reading import LATER, reads_otherwise_now
from supernet.data.pictures import EXTENSIONS, ORIENTATION
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.runs.same_data import refuse_other_reading


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("1", "2"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / "train" / name / "a.png")
    return tmp_path / "data"


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (4, 4)).save(root / "train" / "2" / "b.jpg", exif=exif)


CHANGES = {
    "numbered the classes 1, 2, 10 ... in that order, and they are 1, 10, 2 now": lambda root: (
        root / "train" / "10"
    ).mkdir(),
    "left out 1 pictures (.jfif) that are read now": lambda root: (root / "train" / "1" / "a.png").rename(
        root / "train" / "1" / "a.jfif"
    ),
    "validation was no part of the training, and is its validation part now": lambda root: (
        root / "validation"
    ).mkdir(),
    "train/2/b.jpg, or did not turn them": turned,
    "train/1/b.png, or did not turn them": lambda root: Image.fromarray(np.full((4, 4), 700, np.uint16)).save(
        root / "train" / "1" / "b.png"
    ),
}


@pytest.mark.parametrize("text", CHANGES)
def test_what_is_read_otherwise_is_named(root: Path, text: str) -> None:
    data = DataConfig(name="folder", root=str(root))
    run = RunFolder(root.parent / "run")
    refuse_other_reading(run, data)
    CHANGES[text](root)
    with pytest.raises(SupernetError) as caught:
        refuse_other_reading(run, data)
    assert text in str(caught.value) and "run.fresh=true starts anew" in str(caught.value)
    assert "\n" not in str(caught.value) and len(reads_otherwise_now(data)) == 1


def test_new_and_finished_runs_and_other_data_are_left_alone(root: Path) -> None:
    (root / "val").mkdir()
    data = DataConfig(name="folder", root=str(root))
    run = RunFolder(root.parent / "run")
    run.new = True
    refuse_other_reading(run, data)
    run.new = False
    run.path.mkdir()
    run.result_path.write_text("{}")
    refuse_other_reading(run, data)
    assert reads_otherwise_now(DataConfig()) == []


def test_every_suffix_of_now_was_read_or_came_later() -> None:
    before = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
    assert before | set(LATER) == EXTENSIONS and not before & set(LATER)
