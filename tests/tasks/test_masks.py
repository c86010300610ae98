"""Masks go with their pictures: read, cut to the same square, mirrored and moved alike, on the host and the device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from supernet.config import DataConfig
from supernet.data import open_data
from supernet.data.augment import IGNORE, Augment
from supernet.data.digests.digest import changes
from supernet.data.digests.sources import record_of_files
from supernet.data.loader import CountedLoader
from supernet.data.memory.arrays import from_arrays
from supernet.data.resident import Residents
from supernet.data.sources import TensorSource
from supernet.data.view import View
from supernet.errors import SupernetError

Data = Callable[..., DataConfig]
SIZE = 16


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Eight pictures whose green is 40 times the class of the pixel, so that a picture is its own oracle."""
    random = np.random.default_rng(0)
    (tmp_path / "m").mkdir()
    lines = ["image,mask"]
    for i in range(8):
        mask = np.kron(random.integers(0, 4, (3, 4), dtype=np.uint8), np.ones((20, 20), dtype=np.uint8))[7:47, 6:66]
        picture = np.stack([random.integers(0, 256, mask.shape, dtype=np.uint8), 40 * mask, mask * 0], axis=2)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "m" / f"{i}.png")
        lines.append(f"{i}.png,m/{i}.png")

    def data(text: str = "\n".join(lines), **more: Any) -> DataConfig:
        (tmp_path / "labels.csv").write_text(text)
        settings = {"root": str(tmp_path), "labels": "labels.csv", "image_size": SIZE} | more
        return DataConfig(name="csv", **settings)

    return data


def classes(images: Tensor, view: View) -> Tensor:
    """The class of each pixel, read off the green of normalised images [B, 3, H, W]; not whole where they are mixed."""
    mean, std = view.augment.mean[1], view.augment.std[1]
    return (images[:, 1] * std + mean) * 255 / 40


def test_masks_are_read_with_their_pictures(data: Data, tmp_path: Path) -> None:
    splits = open_data(data(), 0)
    assert splits.info.task == "segmentation" and splits.info.class_names == ("0", "1", "2", "3")
    assert splits.augment.words(SIZE) == "mirrored left-right, moved by up to 2 pixels (masks too)"
    view, _ = splits.for_search()
    source = view.source
    images, masks = source.fetch(np.arange(8), None)
    assert masks.shape == (8, SIZE, SIZE) and masks.dtype == torch.int64
    shown = images[:, 1].float() / 40
    seam = max_pool2d(shown, 3, 1, 1) != -max_pool2d(-shown, 3, 1, 1)  # there a picture mixes, and a mask never does
    assert 0.2 < seam.float().mean() < 0.8 and torch.equal(shown[~seam].long(), masks[~seam])
    whole = torch.from_numpy(np.array(Image.open(tmp_path / "m" / "0.png"), dtype=np.int64))  # [40, 60] to [16, 24]
    nearest = [int((i + 0.5) * 40 / SIZE) for i in range(24)]
    assert torch.equal(masks[0], whole[nearest[:16]][:, nearest[4:20]]), "the square in the middle, no classes mixed"
    files = [np.array(Image.open(tmp_path / "m" / f"{i}.png")) for i in range(8)]
    assert splits.about({})["outputs"] == {str(k): sum(k in file for file in files) for k in range(4)}


def moved(data: Data) -> View:
    """The samples in memory, with pictures that are as sharp as their masks."""
    view, _ = open_data(data(), 0).for_search()
    _, masks = view.source.fetch(np.arange(8), None)
    images = torch.stack([torch.zeros_like(masks), 40 * masks, torch.zeros_like(masks)], dim=1).to(torch.uint8)
    return View(TensorSource(images, masks), np.arange(8), view.augment)


def test_masks_move_with_their_pictures(data: Data) -> None:
    view = moved(data)
    resident = Residents("cpu", "on").of(view)
    plain = CountedLoader(view, batch_size=4, seed=1, stream="weights")
    there = CountedLoader(view, batch_size=4, seed=1, stream="weights", resident=resident)
    beyond = mirrored = 0
    for epoch in range(3):
        for one, other in zip(plain.epoch(epoch), there.epoch(epoch), strict=True):
            counts = one.targets != IGNORE
            torch.testing.assert_close(classes(one.images, view)[counts], one.targets[counts].float())
            assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
            beyond += int((~counts).sum())
            mirrored += int((one.targets != view.source.fetch(one.index.numpy(), None)[1]).flatten(1).any(1).sum())
    assert beyond and mirrored > 12, "what a crop adds does not count, and most samples were moved"
    still = next(iter(CountedLoader(view, batch_size=4, seed=1, stream="weights", augment=False).epoch(0)))
    assert torch.equal(classes(still.images, view).round().long(), still.targets)


def test_targets_that_are_no_masks_stay() -> None:
    """Also where they have the shape of one: only a segmentation's are moved."""
    targets = torch.arange(16).view(1, 4, 4)
    draws = torch.full((1, 5), 0.1, dtype=torch.float64)
    assert Augment(flip=True).apply_to_targets(targets, draws) is targets
    assert torch.equal(Augment(flip=True, masks=True).apply_to_targets(targets, draws), targets.flip(2))
    assert repr(Augment(masks=True)) == repr(Augment()), "by which runs of arrays are known"


def test_names_of_classes_and_palettes(data: Data, tmp_path: Path) -> None:
    named = open_data(data(kwargs={"classes": ["sky", "sea", "land", "ship"]}), 0)
    assert named.info.class_names == ("sky", "sea", "land", "ship")
    grey = Image.open(tmp_path / "m" / "0.png")
    palette = Image.new("P", grey.size)
    palette.putdata(np.array(grey).flatten().tolist())
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    before = named.sources(test=False)["train"].target(0)
    palette.save(tmp_path / "m" / "0.png")
    assert torch.equal(named.sources(test=False)["train"].target(0), before), "a palette's numbers, not its colours"


def test_the_record_tells_other_masks(data: Data, tmp_path: Path) -> None:
    old = record_of_files(data())
    mask = np.array(Image.open(tmp_path / "m" / "3.png"))
    Image.fromarray(3 - mask).save(tmp_path / "m" / "3.png")
    new = record_of_files(data())
    assert old and new and changes(old, new) == "train: other content under the same names, 8 images"


def test_what_is_wrong_with_masks(data: Data, tmp_path: Path) -> None:
    source = open_data(data(), 0).sources(test=False)["train"]
    Image.new("L", (9, 9)).save(tmp_path / "m" / "0.png")
    with pytest.raises(SupernetError, match=r"m/0.png has 9x9 pixels, and its picture .*0.png 60x40"):
        source.fetch(np.array([0]), None)
    Image.new("L", (60, 40), 7).save(tmp_path / "m" / "0.png")
    with pytest.raises(SupernetError, match=r"m/0.png has the class 7; there are 0 to 3"):
        source.fetch(np.array([0]), None)
    Image.new("RGB", (60, 40)).save(tmp_path / "m" / "0.png")
    with pytest.raises(SupernetError, match=r"m/0.png cannot be read: it is in RGB, and masks have one class number"):
        open_data(data(), 0)
    for i in range(8):
        Image.fromarray(np.uint8([[0, 255]])).save(tmp_path / "m" / f"{i}.png")
    with pytest.raises(SupernetError, match=r"have the classes: 0; 255 stands for pixels that do not count"):
        open_data(data(), 0)
    with pytest.raises(SupernetError, match=r"data.kwargs.crop_scale would cut pictures without their masks"):
        open_data(data(kwargs={"crop_scale": [0.1, 1.0]}), 0)
    with pytest.raises(SupernetError, match=r"line 2: 'm/9.png' is no file"):
        open_data(data("image,mask\n0.png,m/9.png\n"), 0)


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        ("segmentation", torch.zeros(4, dtype=torch.int64), r"reads masks \[N, H, W\]"),
        ("multi_label", torch.tensor([[0, 2]] * 4), r"reads rows of 0 and 1"),
        ("regression", torch.zeros(4, 2, 2), r"reads numbers \[N\] or \[N, K\]"),
    ],
)
def test_arrays_of_another_form(task: str, targets: Tensor, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        from_arrays((torch.zeros(4, 3, 8, 8), targets), classes=False, task=task)
