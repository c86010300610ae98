"""Tasks from the command line and in Python: searched, retrained, exported; and the one form of batch that they get."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

import supernet
from supernet.cli import main
from supernet.data.loader import Batch
from supernet.errors import SupernetError
from supernet.space import Genotype, Space
from supernet.tasks.classification import ImageClassification
from supernet.tasks.segmentation import SemanticSegmentation
from supernet.tasks.task import Task

TINY = ["space=nasbench201", "network.channels=4", "network.cells_per_stage=1", "data.image_size=8"]
SHORT = ["epochs=1", "batch_size=4", "device=cpu", "log.tensorboard=false"]
TABLES = {
    "multi_label": ("image,label,split", lambda i: ";".join(["a", "b", "c"][: i // 2 % 4])),
    "regression": ("image,size,split", lambda i: i / 10),
}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen pictures with a mask each, and a table for each task; the working folder is theirs."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    rows = []
    for i in range(16):
        mask = random.integers(0, 3, (8, 8), dtype=np.uint8)
        Image.fromarray(np.stack([100 * mask] * 3, axis=2)).save(f"images/{i}.png")
        Image.fromarray(mask).save(f"images/{i}-mask.png")
        rows.append((f"{i}.png", "test" if i % 4 == 3 else "train"))
    for task, (header, cell) in TABLES.items():
        lines = [f"{name},{cell(i)},{split}" for i, (name, split) in enumerate(rows)]
        Path(f"{task}.csv").write_text("\n".join([header, *lines]))
    masks = [f"{name},{name.replace('.', '-mask.')},{split}" for name, split in rows]
    Path("segmentation.csv").write_text("\n".join(["image,mask,split", *masks]))
    return tmp_path


def metrics(run: str) -> dict[str, float]:
    return json.loads(Path("runs", run, "result.json").read_text())["metrics"]


@pytest.mark.parametrize(
    ("task", "words", "metric", "told"),
    [
        ("multi_label", [], "f1", "task multi_label, 3 outputs (a 8, b 6, c 2)"),
        ("regression", ["task=regression"], "rmse", "task regression, 1 output (size 0 to 1.4)"),
    ],
)
def test_from_a_table_to_a_retrained_network(
    images: Path, capsys: pytest.CaptureFixture[str], task: str, words: list[str], metric: str, told: str
) -> None:
    """The retraining takes table and task over; the export is a model of timm whose card says what it is for."""
    data = ["data=csv", "data.root=images", f"data.labels={task}.csv"]
    assert main(["search", *data, *TINY, *SHORT, *words, "run.name=searched"]) == 0
    assert main(["retrain", "genotype=runs/searched", *SHORT, "run.name=retrained"]) == 0
    assert capsys.readouterr().err.count(told) == 2
    assert metric in {name.removeprefix("val/") for name in metrics("searched")}
    assert {f"val/{metric}", f"test/{metric}"} <= set(metrics("retrained"))
    result = json.loads(Path("runs/retrained/result.json").read_text())
    assert result["data"]["task"] == task and result["data"]["selects"] == result["selects"] == metric

    from supernet import timm_models  # noqa: F401
    from supernet.export import check_reopens, export_model
    from supernet.train.trained import trained_network

    model, genotype = trained_network("runs/retrained"), Genotype.load("runs/retrained/genotype.json")
    facts = {"arguments": result["arguments"], "data": result["data"], "metrics": result["metrics"]}
    folder = export_model(model, genotype, "exported", **facts, check=lambda there: check_reopens(there, model))
    card = (folder / "README.md").read_text()
    assert f"Task: `{task}`; networks of it are compared by `{metric}`." in card and "An image classifier" not in card
    config = json.loads((folder / "config.json").read_text())
    names = config["target_names" if task == "regression" else "label_names"]
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    if task == "regression":
        assert config["target_mean"] == pytest.approx([0.7]) and "size = output * 0.4" in card
    assert config["task"] == task and opened(torch.zeros(1, 3, 8, 8)).shape == (1, len(names))


def test_unfit_tasks_are_one_line(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is trained, and no run folder is left."""
    for words, message in (
        (["task=regresion"], "unknown task 'regresion'; did you mean 'regression'?"),
        (["data=csv", "data.root=images", "data.labels=segmentation.csv"], "segmentation needs a network without pool"),
    ):
        assert main(["search", *TINY, *SHORT, *words]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(Path().glob("runs/*"))


class Dense(nn.Module):
    """A row of classes a pixel, with one choice."""

    def __init__(self, num_classes: int = 3, in_chans: int = 3) -> None:
        super().__init__()
        sizes = {"k1": lambda: nn.Conv2d(in_chans, 8, 1), "k3": lambda: nn.Conv2d(in_chans, 8, 3, padding=1)}
        self.body, self.head = supernet.Choice(sizes), nn.Conv2d(8, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


def test_masks_are_searched_retrained_and_exported(images: Path) -> None:
    """Each pixel's class is its grey, so that a network must come near to knowing all of them."""
    data = {"name": "csv", "root": "images", "labels": "segmentation.csv", "image_size": 8}
    settings: dict[str, Any] = {"data": data, "batch_size": 4, "device": "cpu"}
    searched = supernet.search(Dense, epochs=2, run="runs/dense", **settings)
    assert {"val/miou", "val/accuracy", "val/loss"} <= set(searched.metrics)
    about = json.loads(Path("runs/dense/data.json").read_text())
    assert about["task"] == "segmentation" and "masks too" in about["augmentation"]
    trained = supernet.retrain(searched, epochs=30, recipe={"lr": 0.1, "auxiliary": 0.0}, **settings)
    assert trained.metrics["test/miou"] > 0.8, "the twelve training pictures are enough for three greys"
    folder = supernet.export_model(trained, "exported")
    card = (folder / "README.md").read_text()
    assert "A network for semantic segmentation" in card and "compared by `miou`" in card
    assert json.loads((folder / "config.json").read_text())["task"] == "segmentation"


class Brightness(nn.Module):
    """One number a picture, which its mean tells."""

    def __init__(self, num_classes: int = 1, in_chans: int = 3) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(in_chans, 4, 1), nn.Linear(4, num_classes)
        self.act = supernet.Choice({"relu": nn.ReLU, "skip": nn.Identity})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.body(x)).mean((2, 3)))


def test_numbers_far_from_zero_are_learned(images: Path) -> None:
    """Prices of a million: a network whose outputs begin near 0 would not come there in fifty steps of SGD."""
    greys = [np.asarray(Image.open(f"images/{i}.png")).mean() for i in range(16)]
    lines = [f"{i}.png,{1e6 + 1e4 * grey},{'test' if i % 4 == 3 else 'train'}" for i, grey in enumerate(greys)]
    Path("prices.csv").write_text("\n".join(["image,price,split", *lines]))
    data = {"name": "csv", "root": "images", "labels": "prices.csv", "image_size": 8}
    settings: dict[str, Any] = {"data": data, "batch_size": 4, "device": "cpu", "task": "regression"}
    searched = supernet.search(Brightness, epochs=1, **settings)
    trained = supernet.retrain(searched, epochs=25, recipe={"lr": 0.05, "auxiliary": 0.0}, **settings)
    assert trained.metrics["test/rmse"] < 0.3 * 1e4 * np.std(greys)


def test_arrays_by_the_name_of_a_task() -> None:
    random = np.random.default_rng(0)
    x = random.random((12, 3, 8, 8), dtype=np.float32)
    masks, numbers, rows = (x[:, 0] > 0.5).astype(np.int64), x.mean((1, 2, 3)), (x[:, :, 0, 0] > 0.5).astype(int)
    tiny: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu"}
    assert "val/miou" in supernet.search(Space(Dense), (x, masks), task="segmentation", **tiny).metrics
    small = {"channels": 4, "cells_per_stage": 1}
    for task, targets, metric in (("regression", numbers, "rmse"), ("multi_label", rows, "f1")):
        searched = supernet.search("nasbench201", (x, targets), task=task, network=small, **tiny)
        assert f"val/{metric}" in searched.metrics
    with pytest.raises(SupernetError, match="did you mean 'multi_label'"):
        supernet.search("nasbench201", (x, rows), task="multilabel", network=small, **tiny)


@dataclass(frozen=True)
class Watched:
    """A task that notes what batches it gets."""

    task: Task
    forms: set[str] = field(default_factory=set)
    name: ClassVar[str] = "watched"

    outputs = property(lambda self: self.task.outputs)
    selects = property(lambda self: self.task.selects)
    maximise = property(lambda self: self.task.maximise)

    def unpack(self, batch: Batch) -> tuple[Any, Any]:
        assert isinstance(batch, Batch)
        assert all(isinstance(part, Tensor) for part in batch) and batch.index.dtype == torch.int64
        assert len(batch.images) == len(batch.targets) == len(batch.index)
        form = ", ".join(f"{list(part.shape[1:])} {part.dtype}" for part in batch)
        self.forms.add(form.replace("torch.", ""))
        return self.task.unpack(batch)

    def loss(self, outputs: Tensor, targets: Any, *, training: bool) -> Tensor:
        return self.task.loss(outputs, targets, training=training)

    def sums(self, outputs: Tensor, targets: Any) -> dict[str, Tensor]:
        return self.task.sums(outputs, targets)

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        return self.task.metrics(sums)


def test_a_task_gets_one_form_of_batch(images: Path) -> None:
    """In a search, its validation, a retraining and the final evaluation, which timm's loader reads where it can."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (16, 3, 8, 8), dtype=np.uint8), np.arange(16) % 2
    tiny: dict[str, Any] = {"epochs": 1, "batch_size": 4, "device": "cpu", "network": {"channels": 4}}
    tiny["network"]["cells_per_stage"] = 1
    watched = Watched(ImageClassification(2))
    searched = supernet.search("nasbench201", (x, y), task=watched, **tiny)
    trained = supernet.retrain(searched.genotype, (x, y), test=(x, y), task=watched, **tiny)
    assert "test/top1" in trained.metrics
    assert watched.forms == {"[3, 8, 8] float32, [] int64, [] int64"}
    data = {"name": "csv", "root": "images", "labels": "segmentation.csv", "image_size": 8}
    for resident in ("off", "on"):
        watched = Watched(SemanticSegmentation(3))
        if resident == "off":
            supernet.search(Dense, data=data, task=watched, epochs=1, batch_size=4, device="cpu")
        else:
            masks = random.integers(0, 3, (16, 8, 8))
            supernet.search(Dense, (x, masks), data={"resident": "on"}, task=watched, epochs=1, batch_size=4)
        assert watched.forms == {"[3, 8, 8] float32, [8, 8] int64, [] int64"}
