"""Targets as users have them: read where they leave no doubt, one line where they do."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import supernet
from supernet.data import from_arrays
from supernet.errors import SupernetError

X = np.zeros((6, 1, 8, 8), dtype=np.uint8)
QUIET: dict[str, Any] = {"epochs": 1, "batch_size": 2, "log": {"progress": False, "tensorboard": False}}


@pytest.mark.parametrize(
    ("targets", "names", "numbers"),
    [
        ([1, 2, 3, 1, 2, 3], ("1", "2", "3"), [0, 1, 2, 0, 1, 2]),
        ([0, 10, 20, 0, 10, 20], ("0", "10", "20"), [0, 1, 2, 0, 1, 2]),
        ([[0], [1], [0], [1], [0], [1]], ("0", "1"), [0, 1, 0, 1, 0, 1]),
        (["b", "a", "b", "a", "b", "a"], ("a", "b"), [1, 0, 1, 0, 1, 0]),
        (np.array(["b", "a"] * 3, dtype=object), ("a", "b"), [1, 0] * 3),
        (np.eye(3)[[2, 0, 1, 2, 0, 1]], ("0", "1", "2"), [2, 0, 1, 2, 0, 1]),
        (torch.eye(2, dtype=torch.long)[[1, 0, 1, 0, 1, 0]], ("0", "1"), [1, 0, 1, 0, 1, 0]),
        ([True, False] * 3, ("0", "1"), [1, 0] * 3),
    ],
    ids=["from 1", "gaps", "[N, 1]", "text", "objects", "one-hot", "one-hot tensor", "booleans"],
)
def test_labels_of_many_kinds(targets: Any, names: tuple[str, ...], numbers: list[int]) -> None:
    splits = from_arrays((X, targets), {"x": X, "y": targets}, (X, targets))
    assert splits.info.class_names == names
    assert splits.for_search()[0].labels.tolist() == numbers  # type: ignore[union-attr]
    with splits.final_evaluation():
        assert splits.test().labels.tolist() == numbers  # type: ignore[union-attr]


def test_a_label_that_training_has_not_is_named() -> None:
    splits = from_arrays((X, [1, 2, 3] * 2), test=(X, [1, 2, 7] * 2))
    with splits.final_evaluation(), pytest.raises(SupernetError, match="test has the label '7', which is none of"):
        splits.test()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, ["a", 1, "a", 1, "a", 1]), None),
        ((X, np.array(["a", 1] * 3, dtype=object)), "types int, str; give texts or whole numbers"),
        ({"pictures": X, "kinds": [0] * 6}, "data have the keys pictures, kinds; give 'x' and 'y'"),
        ([({"a": 1},)] * 3, "gives no pairs"),
        ([{"a": 1, "b": 2}] * 3, "mappings with the keys a, b; they need 'image' and 'label'"),
        ([(torch.zeros(1, 8, 8), 0), (torch.zeros(1, 9, 8), 1)] * 2, "samples of several shapes"),
    ],
)
def test_what_is_ambiguous_is_one_line(data: Any, message: str | None) -> None:
    if message is None:
        assert from_arrays(data).info.class_names == ("1", "a"), "numpy makes texts of both"
        return
    with pytest.raises(SupernetError, match=message) as error:
        from_arrays(data)
    assert "\n" not in str(error.value)


def test_forms_of_images() -> None:
    y = [0, 1] * 3
    for images, channels in [
        (np.zeros((6, 8, 8, 3)), 3), (torch.zeros(6, 8, 8, 3), 3), (torch.zeros(6, 8, 8, dtype=torch.uint8), 1),
        (np.zeros((6, 8, 8)), 1), (torch.zeros(6, 5, 8, 8), 5),
    ]:  # fmt: skip
        assert from_arrays((images, y)).info.in_chans == channels
    items = [{"image": np.zeros((8, 8, 3), dtype=np.uint8), "label": "cat" if i % 2 else "dog"} for i in range(6)]
    splits = from_arrays(items)
    assert (splits.info.in_chans, splits.info.class_names) == (3, ("cat", "dog"))
    assert splits.for_search()[0].source.fetch(np.arange(2), None)[0].shape == (2, 3, 8, 8)


def test_one_grey_picture_first_makes_no_colour_set_grey() -> None:
    pictures = [(Image.new("L" if i == 0 else "RGB", (8 if i else 40, 8 if i else 40)), i % 2) for i in range(20)]
    info = from_arrays(pictures).info
    assert (info.in_chans, info.image_size) == (3, 8)


def test_validation_data_of_another_form() -> None:
    with pytest.raises(SupernetError, match=r"val has samples of the shape \[3, 8, 8\], and train of \[1, 8, 8\]"):
        from_arrays((X, [0, 1] * 3), (np.zeros((6, 3, 8, 8), dtype=np.uint8), [0, 1] * 3))


def test_floats_are_no_classes() -> None:
    with pytest.raises(SupernetError, match="the targets name no classes"):
        supernet.search("nasbench201", (X, np.linspace(0, 1, 6)), **QUIET)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.op = supernet.Choice({"a": nn.Conv2d(1, 2, 1), "b": nn.Conv2d(1, 2, 3, padding=1)})
        self.head = nn.Linear(2, 2)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.op(x).mean((2, 3)))


def test_a_frozen_network_and_a_large_batch_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SupernetError, match="every weight of the network is frozen"):
        supernet.search(Frozen, (X, [0, 1] * 3), **QUIET)
    small = {"channels": 2, "cells_per_stage": 1}
    supernet.search("nasbench201", (X, [0, 1] * 3), network=small, **{**QUIET, "batch_size": 64})
    with caplog.at_level(logging.INFO):
        supernet.retrain("DARTS_V2", (X, [1, 3] * 3), network={"channels": 2, "layers": 3}, **QUIET)
    assert "2 classes (1 3, 3 3); 4 for training, 2 for validation; test: none: nothing is tested; 8x8" in caplog.text
    assert "augmentation: none" in caplog.text
    assert "batch_size=64, and 2 samples for the weights: an epoch is one step" in caplog.text
