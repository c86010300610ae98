"""What can be read is read right: depths, orientations, suffixes; what cannot is one line, what is left out counted."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.config import DataConfig
from supernet.data import open_data
from supernet.data.pictures import EXTENSIONS, decoded
from supernet.errors import SupernetError


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 40000], [65535, 128, 129]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    grey = np.asarray(decoded(tmp_path / name, 1))
    assert grey.tolist() == np.rint(values / 257).astype(int).tolist()
    assert np.asarray(decoded(tmp_path / name, 3)).shape == (2, 3, 3)


@pytest.mark.parametrize(("most", "expected"), [(1.0, [0, 128, 255]), (255.0, [0, 128, 255])])
def test_floats_of_either_range(tmp_path: Path, most: float, expected: list[int]) -> None:
    Image.fromarray((np.array([[0, 0.5, 1]]) * most).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(decoded(tmp_path / "a.tif", 1)).tolist() == [expected]


@pytest.mark.parametrize(("values", "message"), [
    (np.array([[-1, 0.5]], dtype=np.float32), "floats go from -1 to 0.5"),
    (np.array([[np.nan, 0.5]], dtype=np.float32), "not finite"),
    (np.array([[70000, 1]], dtype=np.int32), "whole numbers go from 1 to 70000"),
])  # fmt: skip
def test_other_ranges_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(SupernetError, match=message) as error:
        decoded(tmp_path / "a.tif", 1)
    assert "a.tif" in str(error.value)


def test_a_picture_is_turned_as_it_is_shown(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[10, 20], [30, 40], [50, 60]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.asarray(decoded(tmp_path / "a.png", 1)).tolist() == np.rot90(np.asarray(picture), -1).tolist()


@pytest.mark.parametrize("suffix", sorted(EXTENSIONS))
def test_each_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    form = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    mode = "1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB"
    try:
        Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / f"a{suffix}", format=form)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow writes no {suffix}: {error}")
    picture = decoded(tmp_path / f"a{suffix}", 3)
    assert picture.size == (6, 4)
    assert np.asarray(picture).min() > 250


def test_what_a_file_is_called_starts_no_other_program(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(SupernetError, match=r"a\.png cannot be read \(cannot identify"):
        decoded(tmp_path / "a.png", 3)


def test_a_damaged_file_does_not_pass_as_a_tga(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tga")
    (tmp_path / "a.tga").rename(tmp_path / "a.png")
    with pytest.raises(SupernetError, match=r"a\.png cannot be read \(cannot identify"):
        decoded(tmp_path / "a.png", 3)


def test_a_large_palette_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    picture = Image.new("P", (11_000, 11_000))
    picture.info["transparency"] = 0
    picture.save(tmp_path / "a.png", transparency=0)
    with pytest.raises(SupernetError, match="11000x11000 pixels take"):
        decoded(tmp_path / "a.png", 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for name, level in (("a", 10), ("b", 200)):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("L", (8, 8), level + i).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def test_what_is_left_out_is_counted_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("x.svg", "y.svg", "notes.txt", ".hidden", "Thumbs.db"):
        (folder / "train" / "a" / name).write_text("")
    with caplog.at_level(logging.WARNING):
        open_data(DataConfig(name="folder", root=str(folder)), 0)
    (told,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "3 files are no pictures that are read, and left out: 2 .svg, 1 .txt" in told


def test_a_validation_folder_validates_and_tests_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = open_data(DataConfig(name="folder", root=str(folder)), 0)
    assert not data.has_test
    assert "nothing is tested" in caplog.text
    for cut in (data.for_search(), data.for_retrain()):
        assert [len(part) for part in cut if part is not None] == [8, 8]
        assert "val" in cut[1].source.paths[0]  # type: ignore[union-attr]
    (folder / "val").rename(folder / "test")
    assert open_data(DataConfig(name="folder", root=str(folder)), 0).has_test


def test_classes_one_folder_down_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat", "dog"):
        (folder / "train" / "c" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "train" / "c" / name / "0.png")
    with caplog.at_level(logging.WARNING):
        open_data(DataConfig(name="folder", root=str(folder)), 0)
    assert "holds 2 folders and no pictures: all below it is the one class 'c'" in caplog.text


def test_a_limit_that_leaves_a_class_empty_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_data(DataConfig(name="folder", root=str(folder), limit=1), 0)
    assert "data.limit=1 leaves 1 of 2 classes without a sample" in caplog.text
