"""Pictures by a table: what its columns come to, and one line for each thing that can be wrong with it."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.config import DataConfig, RunConfig, SearchConfig
from supernet.data import open_data
from supernet.data.digests.digest import changes
from supernet.data.digests.sources import record_of_files
from supernet.data.splits import Splits
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.runs.identity import identity
from supernet.runs.names import data_label
from supernet.space import get_space
from supernet.stages.inherited.words import inherited_words

NAMES = ("a.png", "b.png", "c.png", "d.png", "sub/e.png", "sub/f.png")
Write = Callable[..., DataConfig]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a table beside six pictures, each of one grey of its own, and names both."""
    for i, name in enumerate(NAMES):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 4), 10 * i).save(tmp_path / "images" / name)

    def write(text: str, encoding: str = "utf-8", **more: Any) -> DataConfig:
        (tmp_path / "labels.csv").write_text(text, encoding=encoding)
        settings = {"root": str(tmp_path / "images"), "labels": str(tmp_path / "labels.csv"), "image_size": 4} | more
        return DataConfig(name="csv", **settings)

    return write


def rows(*cells: object, header: str = "image,label") -> str:
    """A table of the six pictures with these cells."""
    return "\n".join([header, *(f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=False))]) + "\n"


def targets(splits: Splits) -> torch.Tensor:
    """All targets of the training rows."""
    source = splits.sources(test=False)["train"]
    return source.fetch(np.arange(len(source)), None)[1]


def test_names_of_classes(write: Write) -> None:
    splits = open_data(write(rows("cat", "ant", "cat", "dog", "dog", "ant")), 0)
    assert splits.info.class_names == ("ant", "cat", "dog") and splits.info.task == "classification"
    assert targets(splits).tolist() == [1, 0, 1, 2, 2, 0]
    images, _ = splits.sources(test=False)["train"].fetch(np.arange(6), None)
    assert images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50], "each label stands by its own picture"
    about = splits.about({"training": splits.for_retrain(0)[0]})
    assert about["classes"] == {"ant": 2, "cat": 2, "dog": 2} and about["task"] == "classification"
    assert about["test"] == "none: nothing is tested"


def test_numbers_of_classes_are_sorted_as_numbers(write: Write) -> None:
    splits = open_data(write(rows(10, 2, 10, 2, -1, -1)), 0)
    assert splits.info.class_names == ("-1", "2", "10") and targets(splits).tolist() == [2, 1, 2, 1, 0, 0]
    named = open_data(write(rows("007", "7", "007", "7", "7", "007")), 0)
    assert named.info.class_names == ("007", "7"), "two spellings are two names"


def test_a_column_of_splits(write: Write) -> None:
    text = rows("x,train", "y,Train", "x,val", "y,validation", "x,test", "y,test", header="image,label,split")
    splits = open_data(write(text), 0)
    assert [len(view) for view in splits.for_search()] == [2, 2]
    with splits.final_evaluation():
        assert splits.test().source.fetch(np.arange(2), None)[1].tolist() == [0, 1]
    only = open_data(write(rows(*["x,train", "y,train"] * 2, "x,test", "y,test", header="image,label,split")), 0)
    assert [len(view) for view in only.for_search()] == [2, 2] and only.has_test, "the usual cut of the training rows"


@pytest.mark.parametrize(
    ("text", "kwargs"),
    [
        (rows("b; a", "c", "", "a;c", "b", "a"), {}),
        (rows("b|a", "c", "", "a|c", "b", "a"), {"separator": "|"}),
        (rows("1,1,0", "0,0,1", "0,0,0", "1,0,1", "0,1,0", "1,0,0", header="image,a,b,c"), {}),
        (rows("9,1,1,0", "8,0,0,1", "9,0,0,0", "2,1,0,1", "3,0,1,0", "4,1,0,0", header="image,n,a,b,c"),
         {"target": ["a", "b", "c"]}),
    ],
)  # fmt: skip
def test_several_labels(write: Write, text: str, kwargs: dict[str, Any]) -> None:
    splits = open_data(write(text, kwargs=kwargs), 0, "auto" if "separator" not in kwargs else "multi_label")
    assert splits.info.task == "multi_label" and splits.info.class_names == ("a", "b", "c")
    there = [[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert targets(splits).tolist() == there and targets(splits).dtype == torch.float32
    assert splits.about({})["outputs"] == {"a": 3, "b": 2, "c": 2}


def test_columns_with_one_1_in_each_row_are_classes(write: Write) -> None:
    text = rows("1,0", "0,1", "0,1", "1,0", "1,0", "0,1", header="image,cat,dog")
    splits = open_data(write(text), 0)
    assert splits.info.task == "classification" and targets(splits).tolist() == [0, 1, 1, 0, 0, 1]
    assert open_data(write(text), 0, "multi_label").info.task == "multi_label"


def test_numbers(write: Write) -> None:
    text = rows("1.5,2", "2,3", "-1e-1,4", "0,2", "1,1", "2,2", header="image,price,size")
    splits = open_data(write(text), 0, "regression")
    assert splits.info.class_names == ("price", "size") and splits.info.num_classes == 2
    assert targets(splits)[:3].tolist() == pytest.approx(np.float32([[1.5, 2], [2, 3], [-0.1, 4]]))
    assert splits.augment.words(4) == "none", "a mirrored picture may have another number"
    one = open_data(write(text, kwargs={"target": "size"}), 0, "regression")
    assert one.info.class_names == ("size",) and targets(one).shape == (6, 1)
    assert one.info.target_mean == pytest.approx([14 / 6]) and one.info.target_std == pytest.approx([(8 / 9) ** 0.5])


def test_what_is_written_otherwise(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte order mark, semicolons, blank lines, the numbers of pandas, paths from the root on, one's home."""
    cells = ["", *(f"{i};{tmp_path / 'images' / name};{'xy'[i % 2]}" for i, name in enumerate(NAMES)), ""]
    config = write("\r\n".join([";image;label", *cells]), encoding="utf-8-sig")
    assert targets(open_data(config, 0)).tolist() == [0, 1, 0, 1, 0, 1]
    monkeypatch.setenv("HOME", str(tmp_path))
    home = DataConfig(name="csv", root="~/images", labels="~/labels.csv", image_size=4)
    assert targets(open_data(home, 0)).tolist() == [0, 1, 0, 1, 0, 1]
    (tmp_path / "labels.csv").rename(tmp_path / "images" / "labels.csv")
    below = DataConfig(name="csv", root="~/images", labels="labels.csv", image_size=4)
    assert len(targets(open_data(below, 0))) == 6, "a table among its pictures"


GOOD = ("x", "y", "x", "y", "x", "y")
TWO = "image,label,split"


@pytest.mark.parametrize(
    ("text", "task", "kwargs", "message"),
    [
        ("", "auto", {}, r"labels.csv is empty; it needs a header"),
        ("image,label\n", "auto", {}, r"has a header and no rows"),
        ("a.png,x\nb.png,y\n", "auto", {}, r"has no header: its first line, 'a.png,x', names a picture"),
        ("image\na.png\n", "auto", {}, r"has no column beside image to learn from"),
        ("image,label,label\na.png,x,y\n", "auto", {}, r"has the column 'label' twice"),
        (rows(*GOOD) + "a.png,x,z\n", "auto", {}, r"labels.csv, line 8, has 3 cells and the header 2 \(image, label\)"),
        (rows(*GOOD) + '"a.png,x\n', "auto", {}, r"is no row of a CSV file"),
        (rows(*GOOD) + "./a.png,x\n", "auto", {}, r"line 8, names 'a.png' again, which line 2 has"),
        (rows(*GOOD) + "no.png,x\nneither.png,x\n", "auto", {}, r"line 8: 'no.png' is no file .*\(and 1 more of 8\)"),
        (rows(*GOOD).replace("a.png", "a"), "auto", {}, r"line 2: 'a' is no file .*; did you mean 'a.png'\?"),
        (rows(*GOOD).replace("a.png", "../labels.csv"), "auto", {}, r"line 2: '../labels.csv' lies outside data.root="),
        (rows(*GOOD).replace("a.png", "/etc/hosts"), "auto", {}, r"'/etc/hosts' lies outside"),
        (rows("x", "", "y"), "auto", {}, r"line 3, has no label in the column 'label'"),
        (rows(*GOOD), "auto", {"target": "lable"}, r"unknown column of .* 'lable'; did you mean 'label'\?"),
        (rows(*GOOD), "auto", {"name": "file"}, r"unknown column of .* in data.kwargs.name 'file'"),
        (rows(*GOOD), "auto", {"labels": "x"}, r"unknown setting of data set 'csv' in data.kwargs 'labels'"),
        (rows(*["x"] * 6), "auto", {}, r"have the one class 'x'; telling apart needs 2 or more"),
        (rows(.1, .2, .1, .2, .1, .2), "auto", {}, r"numbers with fractions: task=regression predicts them"),
        (rows(1, 2, 3, 4, 5, 6), "auto", {}, r"6 numbers in 6 rows: task=regression"),
        (rows("1,5", "2,6", "1,2", header="image,p,q"), "auto", {}, r"columns p, q beside .*data.kwargs.target=COLUMN"),
        (rows(1, "n/a", 2), "regression", {}, r"line 3: 'n/a' in the column 'label' is no finite number"),
        (rows(1, "nan", 2), "regression", {}, r"'nan' in the column 'label' is no finite number"),
        (rows(3, 3, 3), "regression", {}, r"all have 3 in the column 'label'"),
        (rows("1,0", "0,2", "1,1", header="image,p,q"), "multi_label", {}, r"line 3: '2' in the column 'q' is neither"),
        (rows("1,1", "0,1", header="image,p,q"), "classification", {}, r"line 2, has 2 of its 2 classes"),
        (rows(*GOOD), "segmentation", {}, r"unknown column of .* in data.kwargs.mask 'mask'"),
        (rows(*GOOD), "next_character", {}, r"task=next_character is for text"),
        (rows("x,train", "y,train", "z,test", header=TWO), "auto", {}, r"line 4, has the label 'z', which no training"),
        (rows("x,train", "y,tran", header=TWO), "auto", {}, r"unknown split .* 'tran'; did you mean 'train'\?"),
        (rows("x,val", "y,test", header=TWO), "auto", {}, r"has no row with train in its column 'split'"),
        (rows("x\x1b[2J", "y"), "auto", {}, r"line 2, has a control character in a cell"),
    ],
)  # fmt: skip
def test_what_is_wrong(write: Write, text: str, task: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as caught:
        open_data(write(text, kwargs=kwargs), 0, task)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(write: Write, tmp_path: Path) -> None:
    config = write(rows(*GOOD))
    with pytest.raises(SupernetError, match=r"label.csv is no file; did you mean 'labels.csv'\?"):
        open_data(DataConfig(name="csv", root=config.root, labels=str(tmp_path / "label.csv")), 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SupernetError, match="pipe is a named pipe"):
        open_data(DataConfig(name="csv", root=config.root, labels=str(tmp_path / "pipe")), 0)
    with pytest.raises(SupernetError, match="data.labels is not set"):
        open_data(DataConfig(name="csv", root=config.root), 0)
    with pytest.raises(SupernetError, match="no folder; give data.root=PATH"):
        open_data(DataConfig(name="csv", root=str(tmp_path / "no"), labels=config.labels), 0)
    (tmp_path / "labels.csv").write_bytes(b"image,label\na.png,\xff\n")
    with pytest.raises(SupernetError, match=r"no text in UTF-8 \(byte 18\)"):
        open_data(config, 0)


def test_a_damaged_picture_is_named_before_training(write: Write, tmp_path: Path) -> None:
    splits = open_data(write(rows(*GOOD)), 0)
    splits.check()
    (tmp_path / "images" / "c.png").write_bytes(b"no picture")
    with pytest.raises(SupernetError, match="c.png cannot be read"):
        splits.check()


def test_the_record_tells_other_data(write: Write, tmp_path: Path) -> None:
    """Cells, files and splits count; where the data lie, comments in other columns and the time do not."""
    old = record_of_files(write(rows("x,1", "y,2", "x,3", "y,4", header="image,label,note")))
    assert old is not None and old["train"].counts == {"x": 2, "y": 2}
    same = record_of_files(write(rows("x,5", "y,6", "x,7", "y,8", header="image,label,note")))
    assert same is not None and changes(old, same) == ""
    other = record_of_files(write(rows("x,1", "x,2", "x,3", "y,4", header="image,label,note")))
    assert other is not None and changes(old, other) == "train: 'x' has 3 images, had 2, train: 'y' has 1 images, had 2"
    Image.new("L", (6, 4), 99).save(tmp_path / "images" / "a.png")
    pixels = record_of_files(write(rows("x,1", "y,2", "x,3", "y,4", header="image,label,note")))
    assert pixels is not None and "other content under the same names" in changes(old, pixels)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(SupernetError, match=r"line 2: 'a.png' is no file"):
        record_of_files(write(rows("x,1", header="image,label,note")))


def test_a_run_is_known_by_the_names_of_folder_and_table() -> None:
    one, other = (DataConfig(name="csv", root=f"{at}/images", labels=f"{at}/l.csv") for at in ("/a", "/b"))
    assert data_label(one) == "csv:images:l.csv"
    assert identity(SearchConfig(data=one), "search") == identity(SearchConfig(data=other), "search")
    assert identity(SearchConfig(data=one, task="regression"), "search") != identity(SearchConfig(data=one), "search")


def test_a_retraining_takes_table_and_task_over(write: Write, tmp_path: Path) -> None:
    data = write(rows(*GOOD))
    config = SearchConfig(data=data, task="regression", run=RunConfig(root=str(tmp_path), name="s"))
    run = RunFolder.open(config, "search")
    get_space("darts").sample(random.Random(0)).save(run.genotype_path)
    words = inherited_words([f"genotype={run.path}"])
    assert "task=regression" in words and any(word.startswith("data.labels=") for word in words)
