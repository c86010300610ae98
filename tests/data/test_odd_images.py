"""Damaged and odd images: each kind is handled as the folder's docstring says, or refused by name before training."""

import logging
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.config import DataConfig, SearchConfig, from_mapping
from supernet.data import open_data
from supernet.data.listing import Paths, list_images
from supernet.data.verify import check_files, problem_of
from supernet.errors import SupernetError
from supernet.stages.run_search import run_search

CLASSES = ("cat", "dog")


def noise(size: tuple[int, int] = (12, 10), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(root: Path, splits: tuple[str, ...] = ("train", "test"), classes: tuple[str, ...] = CLASSES) -> Path:
    """A sound folder: four pictures a class and split."""
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                noise(seed=i).save(root / split / name / f"{i}.png")
    return root


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def truncated(root: Path) -> None:
    noise((64, 64)).save(root / "train/dog/photo.jpg")
    cut(root / "train/dog/photo.jpg", 0.7)


def empty_file(root: Path) -> None:
    (root / "train/dog/none.png").touch()


def saved(name: str, mode: str, size: tuple[int, int] = (9, 13)) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        noise(size).convert(mode).save(root / "train/dog" / name)

    return make


def one_class(root: Path) -> None:
    for split in ("train", "test"):
        (root / split / "dog").rename(root / f"{split}-dog")


def empty_class(root: Path) -> None:
    (root / "train" / "emu").mkdir()


def other_classes(root: Path) -> None:
    (root / "test" / "dog").rename(root / "test" / "dgo")


def unicode_names(root: Path) -> None:
    """One letter in training, a letter and an accent in the test; a file name that is no UTF-8."""
    for split, name in (("train", "caf\u00e9 猫 👩\u200d🔬"), ("test", "cafe\u0301 猫 👩\u200d🔬")):
        (root / split / "cat").rename(root / split / name)
    noise().save(root / "train/dog/naïve.png")
    os.rename(root / "train/dog/naïve.png", os.fsencode(root / "train/dog") + b"/na\xefve.png")


def many_files(root: Path) -> None:
    for i in range(300):
        os.link(root / "train/dog/0.png", root / f"train/dog/x{i}.png")


# kind -> what makes it, and the start of the one line that refuses it (None: it trains).
KINDS: dict[str, tuple[Callable[[Path], None], str | None]] = {
    "truncated": (truncated, r"image .*train/dog/photo\.jpg cannot be read \(image file is truncated"),
    "empty": (empty_file, r"image .*train/dog/none\.png cannot be read \(the file is empty\)"),
    "grey": (saved("x.png", "L"), None),
    "RGBA": (saved("x.png", "RGBA"), None),
    "CMYK": (saved("x.jpg", "CMYK"), None),
    "1x1": (saved("x.png", "RGB", (1, 1)), None),
    "one class": (one_class, r".*train has the one class 'cat'; telling apart needs 2 or more"),
    "an empty class": (empty_class, r"class folder .*train/emu has no images"),
    "classes that differ": (other_classes, r"unknown class folder in .*test 'dgo'; did you mean 'dog'"),
    "Unicode names": (unicode_names, None),
    "a long list": (many_files, None),
}


def config(root: Path, runs: Path) -> SearchConfig:
    values: dict[str, Any] = {
        "epochs": 1, "batch_size": 4, "space": {"name": "darts", "args": {"nodes": 2}},
        "network": {"channels": 2, "layers": 3},
        "data": {"name": "folder", "root": str(root), "image_size": 8, "limit": 12},
        "log": {"progress": False, "tensorboard": False}, "run": {"root": str(runs), "name": "run"},
    }  # fmt: skip
    return from_mapping(SearchConfig, values)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_input(tmp_path: Path, kind: str) -> None:
    make, refusal = KINDS[kind]
    root = fill(tmp_path / "images")
    make(root)
    if refusal is not None:
        with pytest.raises(SupernetError, match=f"^{refusal}") as caught:
            run_search(config(root, tmp_path))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists(), "refused before training starts"
        return
    assert run_search(config(root, tmp_path)).done
    data = open_data(DataConfig(name="folder", root=str(root), image_size=8), 0)
    source = data.for_retrain(0)[0].source
    images, labels = source.fetch(np.arange(len(source)), None)
    assert images.shape == (len(source), 3, 8, 8)
    assert labels.bincount().tolist() == [4, len(source) - 4]
    with data.final_evaluation():
        assert len(data.test()) == 8


def test_all_kinds_are_in_the_table(promise: Callable[[str, str], None]) -> None:
    """The count of the table above; each row is a test of its own."""
    assert len(KINDS) == 11
    promise("damaged and odd images, 11 kinds", "11/11 handled or refused by name before training")


def test_odd_pixels_are_what_they_should_be(tmp_path: Path) -> None:
    """Grey in three equal channels, RGBA without its alpha, CMYK as Pillow converts it, 1x1 as a plain square."""
    root = fill(tmp_path, ("train",))
    red = Image.new("RGBA", (8, 8), (200, 10, 20, 0))
    made = {"a.png": red, "b.png": red.convert("L"), "c.jpg": red.convert("CMYK"), "d.png": Image.new("RGB", (1, 1), 7)}
    for name, image in made.items():
        image.save(root / "train/cat" / name, quality=100)
    source = open_data(DataConfig(name="folder", root=str(root), image_size=8), 0).for_retrain(0)[0].source
    at = {Path(p).name: i for i, p in enumerate(source.paths) if "/cat/" in p}  # type: ignore[attr-defined]
    rgba, grey, cmyk, dot = source.fetch(np.asarray([at[name] for name in made]), None)[0]
    assert rgba[:, 0, 0].tolist() == [200, 10, 20]
    assert grey[:, 3, 3].tolist() == [red.convert("L").getpixel((0, 0))] * 3
    assert (cmyk.int() - torch.tensor([200, 10, 20])[:, None, None]).abs().max() <= 4, "JPEG's rounding"
    assert torch.equal(dot, dot[:, :1, :1].expand(3, 8, 8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tiff", "ppm"])
def test_every_cut_of_every_format_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    noise((40, 40)).save(path)
    assert problem_of(str(path)) is None
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        assert problem_of(str(path)), f"{share} of a {suffix}"
    path.write_bytes(whole + b"\0" * 7 + b"camera")
    assert problem_of(str(path)) is None, "what decodes is no damage"


def test_the_check_has_a_budget_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fill(tmp_path, ("train",))
    paths, _ = list_images(root / "train", CLASSES)
    ticks = iter(range(100))
    with caplog.at_level(logging.WARNING, logger="supernet"):
        check_files(paths, budget=3, clock=lambda: next(ticks))
    assert "checked 4 of 8 images" in caplog.text
    for name in ("cat/2.png", "dog/1.png", "dog/3.png"):
        cut(root / "train" / name, 0.5)
    with pytest.raises(SupernetError, match=r"cat/2\.png and 2 more of 8 cannot be read"):
        check_files(paths)


def test_an_empty_test_class_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fill(tmp_path)
    (root / "test/dog").rename(root / "dog")
    with caplog.at_level(logging.WARNING, logger="supernet"):
        open_data(DataConfig(name="folder", root=str(root), image_size=8), 0).check()
    assert "lacks 1 of 2 classes (dog ...)" in caplog.text


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb"])
def test_a_class_name_that_no_result_could_hold(tmp_path: Path, name: bytes) -> None:
    root = fill(tmp_path, ("train",))
    os.rename(root / "train/cat", os.fsencode(root / "train") + b"/" + name)
    with pytest.raises(SupernetError, match="rename it") as caught:
        open_data(DataConfig(name="folder", root=str(root)), 0)
    assert str(caught.value).isprintable()


# ---------------------------------------------------------------------------------------------- many files


def test_the_table_reads_like_the_sorted_paths(tmp_path: Path) -> None:
    files = ["a/x.png", "a-b/x.png", "a/sub/y.JPG", "a/sub-1.gif", "a/sub.png/z.png", "é/1.png", "a/note.txt"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "a" / "x.png")
    paths, counts = list_images(tmp_path, ["a", "a-b", "é", "none"])
    slow = sorted(str(tmp_path / n) for n in [*files[:1], *files[2:5], "a/link.png"])
    slow += [str(tmp_path / "a-b/x.png"), str(tmp_path / "é/1.png")]
    assert paths == slow
    assert list(paths) == slow
    assert (paths[-1], paths[1:3]) == (slow[-1], tuple(slow[1:3]))
    assert counts.tolist() == [5, 1, 1, 0]
    assert paths != slow[:-1]
    with pytest.raises(IndexError):
        paths[len(paths)]


def listing_peak(root: Path, files: int, folders: int) -> tuple[Paths, float, float]:
    """The table, the bytes at the peak of listing, and those of a list of the same paths as strings; each a file."""
    names = [f"class{k:04d}" for k in range(folders)]
    for name in names:
        (root / name).mkdir()
        for i in range(files // folders):
            os.close(os.open(root / name / f"image_{i:08d}.jpg", os.O_CREAT | os.O_WRONLY))
    list_images(root, names[:1])
    tracemalloc.start()
    paths, _ = list_images(root, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    strings = list(paths)
    as_strings = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(strings) == files
    return paths, peak / files, as_strings / files


@pytest.mark.parametrize(
    ("files", "folders"), [(5_000, 20), pytest.param(200_000, 1000, marks=pytest.mark.long)], ids=["5k", "200k"]
)
def test_listing_never_holds_the_paths_twice(tmp_path: Path, files: int, folders: int) -> None:
    paths, peak, as_strings = listing_peak(tmp_path, files, folders)
    assert paths.nbytes / files == len("class0000/image_00000000.jpg") + 8
    assert peak < 60, "36 of the table, its room for growth, and the names of one directory"
    assert peak < as_strings / 2


def test_even_one_directory_of_all_files_costs_less_than_a_list(tmp_path: Path) -> None:
    _, peak, as_strings = listing_peak(tmp_path, 10_000, 1)
    assert peak < 1.25 * as_strings
