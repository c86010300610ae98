"""The record of each kind of data: equal for a copy, another where anything that is trained on has changed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.config import DataConfig
from supernet.data.digests import sources as digest_sources
from supernet.data.digests.digest import Content, as_json, changes, from_json
from supernet.data.digests.sources import FILES, record_of_files, record_of_samples
from supernet.data.memory.arrays import from_arrays
from supernet.data.torchvision_named import NAMED
from supernet.errors import SupernetError


def images(root: Path, shape: dict[str, int], size: int = 4) -> Path:
    """`train/cat: 3` makes three pictures below `root`, each with its own content."""
    for number, (folder, count) in enumerate(shape.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((size, size, 3), 16 * number + i, dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}.bmp")
    return root


def record(root: Path | str | None, name: str = "folder", **more: Any) -> Any:
    return record_of_files(DataConfig(name=name, root=None if root is None else str(root), **more))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return images(tmp_path / "tiny", {"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 1})


def test_a_copy_has_the_same_record(tiny: Path, tmp_path: Path) -> None:
    begun = record(tiny)
    shutil.copytree(tiny, tmp_path / "copy")  # with other times
    (tiny / "train" / "cat" / "notes.txt").write_text("no image")
    assert changes(begun, record(tmp_path / "copy")) == changes(begun, record(tiny)) == ""
    assert from_json(as_json(begun), "x") == begun
    assert begun["train"].counts == {"cat": 3, "dog": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("mv train/dog train/cow", "train: 'dog' is gone (2 images), train: 'cow' is new (2 images)"),
        ("cp train/cat/0.bmp train/cat/9.bmp", "train: 'cat' has 4 images, had 3"),
        ("rm -r train/dog", "train: 'dog' is gone (2 images)"),
        ("mkdir train/owl", "train: 'owl' is new (0 images)"),
        ("mv train/cat x && mv train/dog train/cat && mv x train/dog", "'cat' has 2 images, had 3"),
        ("cp train/dog/0.bmp train/cat/0.bmp", "train: other content under the same names, 5 images"),
        ("mv train/cat/0.bmp train/cat/7.bmp", "train: other content under the same names, 5 images"),
        ("cp -r test val", "val is new"),
        ("rm -r test", "test is gone"),
        ("rm test/cat/0.bmp", "test: 'cat' has 0 images, had 1"),
    ],
)
def test_each_change_is_told(tiny: Path, change: str, told: str) -> None:
    import subprocess

    begun = record(tiny)
    subprocess.run(["bash", "-ec", change], cwd=tiny, check=True)
    assert told in changes(begun, record(tiny))
    assert (changes(begun, record(tiny), unread=("test",)) == "") is ("test" in told), "a search never reads it"


def test_no_image_of_the_test_split_is_opened(tiny: Path) -> None:
    begun = record(tiny)
    shutil.copy(tiny / "train" / "dog" / "0.bmp", tiny / "test" / "dog" / "0.bmp")
    assert record(tiny) == begun, "names and sizes only"


def test_a_large_folder_is_sampled(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name counts; sizes and content of some, evenly spread."""
    monkeypatch.setattr(digest_sources, "MOST_SIZES", 2)
    monkeypatch.setattr(digest_sources, "MOST_READ", 2)
    begun = record(tiny)
    (tiny / "train" / "cat" / "1.bmp").write_bytes(b"neither first nor last")
    assert record(tiny) == begun
    (tiny / "train" / "cat" / "1.bmp").rename(tiny / "train" / "cat" / "8.bmp")
    assert record(tiny) != begun
    assert digest_sources.spread(5, 2) == {0, 4} and digest_sources.spread(3, 9) == {0, 1, 2}
    assert digest_sources.spread(0, 9) == frozenset()


def test_names_that_are_no_text_and_letters_with_accents(tmp_path: Path) -> None:
    one, other = (images(tmp_path / str(i), {f"train/{name}": 1}) for i, name in enumerate(("caf\u00e9", "cafe\u0301")))
    assert record(one) == record(other)
    (one / "train" / "b\udcff").mkdir()
    assert changes(record(other), from_json(as_json(record(one)), "x")) == "train: 'b\ufffd' is new (0 images)"


@pytest.mark.parametrize("name", ["folder", "mnist", "timm", "torch/cifar10", "torch/image_folder"])
def test_a_root_that_is_not_there(name: str, tmp_path: Path) -> None:
    more = {"kwargs": {"name": "torch/svhn"}} if name == "timm" else {}
    with pytest.raises(SupernetError, match=r"is no folder; give data.root=PATH"):
        record(tmp_path / "gone", name, **more)
    with pytest.raises(SupernetError, match=r"data.root is not set"):
        record(None, "folder")


def test_torchvision_s_files(tmp_path: Path) -> None:
    assert set(NAMED) <= set(FILES)
    for name in NAMED:
        for part in FILES[name]:
            file = tmp_path / part if part.endswith(".mat") else tmp_path / part / "data"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode())
    for name in NAMED:
        begun = record(tmp_path, name)
        assert begun == record(tmp_path, f"torch/{name}")
        place = tmp_path / FILES[name][0]
        place = place if place.is_file() else place / "data"
        place.with_suffix(".gz").write_bytes(b"an archive")
        assert record(tmp_path, name) == begun, "what it was unpacked from may go or stay"
        place.write_bytes(name[::-1].encode())
        assert "other content under the same names" in changes(begun, record(tmp_path, name))
    shutil.rmtree(tmp_path / "MNIST")
    with pytest.raises(SupernetError, match="has no MNIST/raw; try data.download=true"):
        record(tmp_path, "mnist")
    assert record(tmp_path, "mnist", download=True) is None, "opening fetches it"


def test_text_and_what_is_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abc" * 99)
    begun, built_in = record(file, "text"), record(None, "text")
    file.write_text("abd" * 99)
    assert changes(begun, record(file, "text")) == "text: other content under the same names, 297 bytes"
    assert "'built in' is gone" in changes(built_in, begun)
    monkeypatch.setattr(digest_sources, "WHOLE", 128)
    monkeypatch.setattr(digest_sources, "FIRST", 16)
    begun = record(file, "text")
    file.write_text("abd" * 98 + "xyz")
    assert record(file, "text") != begun, "a large file by its ends, among others"
    with pytest.raises(SupernetError, match="is no file"):
        record(tmp_path, "text")
    digits = record(None, "digits")
    assert digits["digits"].counts == {"digits": 1797}
    assert record(None, "cluttered_digits") == digits, "they are made of the same table"


def test_a_kind_that_is_not_known_by_its_files_and_what_settings_name(tmp_path: Path) -> None:
    root = images(tmp_path / "all", {"deep/er": 1})
    for i in range(2):
        shutil.copy(root / "deep" / "er" / "0.bmp", root / f"{i}.bmp")
    (tmp_path / "labels.csv").write_text("0.bmp,1")
    settings = {"kwargs": {"labels": str(tmp_path / "labels.csv"), "k": 3}}
    begun = record(root, "registered", **settings)
    assert begun["images"].counts == {"deep": 1, ".": 2}
    (tmp_path / "labels.csv").write_text("0.bmp,2")
    assert changes(begun, record(root, "registered", **settings)).startswith("labels: other content")
    assert record(None, "mine") is record(None, "hfds/someone/something") is None, "only opening it tells"


def test_open_data_by_labels_and_samples() -> None:
    pixels, labels = torch.rand(40, 1, 4, 4), torch.arange(40) % 4

    def of(x: torch.Tensor, y: torch.Tensor, test: torch.Tensor | None = None) -> Any:
        splits = from_arrays((x, y), test=None if test is None else (test, labels))
        return record_of_samples(splits.sources(test=True))

    begun = of(pixels, labels)
    assert begun == of(pixels.clone(), labels)
    assert begun["train"].counts == dict.fromkeys([f"class {i}" for i in range(4)], 10)
    assert changes(begun, of(pixels + 1, labels)) == "train: other content under the same names, 40 samples"
    assert changes(begun, of(pixels, labels.flip(0))) != ""
    assert changes(begun, of(pixels, labels, pixels)) == "test is new"
    assert changes(of(pixels, labels, pixels), of(pixels, labels, pixels + 1)).startswith("test: other content")


@pytest.mark.parametrize("value", [None, [], {}, {"schema": 9, "splits": {}}, {"schema": 1, "splits": []}])
def test_a_record_of_another_layout_is_refused(value: Any) -> None:
    with pytest.raises(SupernetError, match="x is no record of data"):
        from_json(value, "x")
    for content in (None, {"digest": 1}, {"digest": "a", "counts": {"b": "c"}, "unit": "d"}):
        with pytest.raises(SupernetError, match="x: train has no digest and counts"):
            from_json({"schema": 1, "splits": {"train": content}}, "x")


def test_many_changes_are_one_line() -> None:
    old, new = ({"train": Content(d, {f"{d}{i}": 1 for i in range(9)})} for d in "ab")
    assert changes(old, new).endswith("'a5' is gone (1 images), ... (18 in all)")
