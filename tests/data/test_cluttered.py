"""The cluttered digits: the same pixels everywhere, each image a function of its number, placed as a loop places it."""

import hashlib
from math import atan, cos, floor, sin

import numpy as np
import pytest

from benchmarks.data.spread import spreads
from supernet.config import DataConfig
from supernet.data import cluttered
from supernet.data.cluttered import NOISE, SIDE, TEST, TRAIN, TURN
from supernet.data.digits import read_digits
from supernet.data.splits import open_data

DIGESTS = {True: "d8eacd5fe1c7f6db", False: "ff4ac7dfb8269e5c"}


@pytest.mark.parametrize(("train", "number"), [(True, TRAIN), (False, TEST)])
def test_the_pixels_are_frozen(train: bool, number: int) -> None:
    """A change of them would be another data set, under which runs that are there would be compared with new ones."""
    pixels, labels = cluttered._read(train)
    assert (pixels.shape, pixels.dtype, labels.shape) == ((number, 1, SIDE, SIDE), np.uint8, (number,))
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == DIGESTS[train]
    own = read_digits(train)[1]
    assert (labels[: len(own)] == own[:number]).all(), "an image has the label of its digit"
    assert np.bincount(labels).min() > 0.09 * number, "classes are about equal"


def test_mean_and_deviation_are_those_of_the_training_pixels() -> None:
    pixels = cluttered._read(True)[0] / 255
    info = open_data(DataConfig(name="cluttered_digits"), 0).info
    assert info.mean == pytest.approx([pixels.mean()], abs=1e-4)
    assert info.std == pytest.approx([pixels.std()], abs=1e-4)


def test_an_image_is_a_function_of_its_number_alone() -> None:
    digits = read_digits(True)[0][:50, 0] / 255.0
    whole = cluttered._scenes(digits, np.arange(120), "a")
    some = np.array([7, 119, 0], dtype=np.int64)
    assert (cluttered._scenes(digits, some, "a") == whole[some]).all()
    assert (cluttered._scenes(digits, some, "b") != whole[some]).any()


def test_a_picture_is_placed_as_a_loop_places_it() -> None:
    rng = np.random.default_rng(0)
    pictures, drawn = rng.random((6, 8, 8)), rng.random((6, 3))
    placed = cluttered._placed(pictures, drawn)
    for picture, (a, b, c), canvas in zip(pictures, drawn, placed, strict=True):
        angle = 2 * atan(TURN * (2 * c - 1))
        for i in range(SIDE):
            for j in range(SIDE):
                y, x = i - (3.5 + (SIDE - 8) * a), j - (3.5 + (SIDE - 8) * b)
                row, column = cos(angle) * y - sin(angle) * x + 3.5, cos(angle) * x + sin(angle) * y + 3.5
                assert canvas[i, j] == pytest.approx(_between(picture, row, column), abs=1e-12)


def _between(picture: np.ndarray, row: float, column: float) -> float:
    """The bilinear value; outside all is empty."""
    total = 0.0
    for i in (floor(row), floor(row) + 1):
        for j in (floor(column), floor(column) + 1):
            if 0 <= i < 8 and 0 <= j < 8:
                total += picture[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def test_an_unturned_picture_lies_whole_on_the_canvas() -> None:
    picture = np.random.default_rng(1).random((1, 8, 8))
    for a, b in ((0.0, 0.0), (0.5, 1.0)):
        placed = cluttered._placed(picture, np.array([[a, b, 0.5]]))[0]
        top, left = int((SIDE - 8) * a), int((SIDE - 8) * b)
        assert (placed[top : top + 8, left : left + 8] == picture[0]).all()
        assert placed.sum() == pytest.approx(picture.sum())


def test_noise_has_its_share_and_pieces_come_from_the_split() -> None:
    empty = np.zeros((3, 8, 8))
    noise = cluttered._scenes(empty, np.arange(30), "a") / 255
    assert noise.max() <= NOISE + 1 / 255
    assert noise.mean() == pytest.approx(NOISE / 2, rel=0.05)
    bright = np.concatenate([empty, np.ones((1, 8, 8))])
    scenes = cluttered._scenes(bright, np.arange(0, 120, 4), "a").reshape(30, -1) / 255  # their own digit is empty
    share = (scenes.max(1) > 0.5).mean()
    assert 0.1 < share < 0.9, "a piece of the bright one is in some: 7 of 16 by chance"


def test_spreads_by_hand() -> None:
    """Means 2 and 8 with the variance 2 in each cell: 18 between the means, less 2 / 2 of the seeds."""
    found = spreads([[1.0, 3.0], [7.0, 9.0]])
    assert (found["mean"], found["seeds"], found["cells"]) == pytest.approx((5, 2**0.5, 17**0.5))
    assert found["ratio"] == pytest.approx((17 / 2) ** 0.5)
    assert spreads([[1.0, 3.0], [1.0, 3.0]])["cells"] == 0
