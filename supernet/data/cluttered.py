"""The embedded digits made hard: each lies turned at some place of a larger canvas, among pieces of others, in noise.

The plain digits saturate at 98 %, where every cell is as good as any other. Here a network must find the digit before
it can read it. The idea is that of the cluttered MNIST of Mnih, Heess, Graves and Kavukcuoglu, "Recurrent Models of
Visual Attention" (https://arxiv.org/abs/1406.6247), section 4.1.

All that is drawn is counted (`counter.py`), and the arithmetic is sums, products and quotients of doubles alone, whose
results IEEE 754 fixes, with no sine: so the pixels are the same on every machine. A test holds their digest.
"""

# N images, M digits of the split, h side of a picture that is placed, S side of the canvas

import numpy as np
from numpy.typing import NDArray

from ..config import DataConfig
from ..counter import uniform
from .augment import Augment
from .digits import read_digits
from .registry import DATASETS, DataSet, in_memory
from .standard import standard

__all__ = ["cluttered_digits"]

Floats = NDArray[np.float64]

SIDE = 12  # pixels of the canvas
TRAIN, TEST = 2000, 1080  # images; those of the test are 3 of each of its 360 digits
PIECES, PIECE = 2, 3  # pieces of other digits of the split in each image, and their side in pixels
TURN = 0.2  # tangent of half the largest angle: 22.6 degrees either way
NOISE = 0.1  # share of uniform noise in each pixel


@DATASETS.register("cluttered_digits")
def cluttered_digits(config: DataConfig) -> DataSet:
    """2,000 training and 1,080 test images, of different digits; the seed of a run does not move them."""
    augment = Augment(**standard("cluttered_digits"), mean=(0.2011,), std=(0.2497,))
    return in_memory("cluttered_digits", config, _read, tuple(str(d) for d in range(10)), augment)


def _read(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels, labels = read_digits(train)
    number, stream = (TRAIN, "cluttered_digits/train") if train else (TEST, "cluttered_digits/test")
    index = np.arange(number, dtype=np.int64)
    return _scenes(pixels[:, 0] / 255.0, index, stream), labels[index % len(labels)]


def _scenes(digits: Floats, index: NDArray[np.int64], stream: str) -> NDArray[np.uint8]:
    """uint8 [N, 1, S, S]: image i has digit i modulo M of `digits` [M, h, h], which lie in [0, 1], and is a function of
    (i, `stream`) alone."""
    drawn = uniform(0, stream, 0, index, 3 + 6 * PIECES)
    canvas = _placed(digits[index % len(digits)], drawn[:, :3])
    for one in np.split(drawn[:, 3:], PIECES, axis=1):
        canvas = np.maximum(canvas, _placed(_pieces(digits, one[:, :3]), one[:, 3:]))
    noise = uniform(0, f"{stream}/noise", 0, index, SIDE * SIDE).reshape(canvas.shape)
    return np.rint(255 * ((1 - NOISE) * canvas + NOISE * noise)).astype(np.uint8)[:, None]


def _pieces(digits: Floats, drawn: Floats) -> Floats:
    """Squares [N, PIECE, PIECE] cut out of digits; `drawn` [N, 3] in [0, 1) says of which, and where."""
    which = (drawn[:, 0] * len(digits)).astype(np.int64)
    top, left = ((drawn[:, 1:] * (digits.shape[1] - PIECE + 1)).astype(np.int64)).T
    step = np.arange(PIECE)
    return digits[which[:, None, None], top[:, None, None] + step[:, None], left[:, None, None] + step]


def _placed(pictures: Floats, drawn: Floats) -> Floats:
    """Pictures [N, h, h], each on an empty canvas [N, S, S], turned and read between pixels (bilinear).

    `drawn` [N, 3] in [0, 1) is the place of the middle, row and column, such that an unturned picture lies within the
    canvas, and the angle, as the tangent of its half: cos = (1 - t^2) / (1 + t^2), sin = 2t / (1 + t^2).
    """
    side = pictures.shape[1]
    middle = (side - 1) / 2 + (SIDE - side) * drawn[:, :2]
    t = TURN * (2 * drawn[:, 2] - 1)
    cos, sin = ((1 - t * t) / (1 + t * t))[:, None, None], (2 * t / (1 + t * t))[:, None, None]
    down = np.arange(SIDE)[:, None] - middle[:, 0, None, None]
    right = np.arange(SIDE)[None, :] - middle[:, 1, None, None]
    edge = np.pad(pictures, ((0, 0), (1, 2), (1, 2)))  # what lies outside is empty
    row = np.clip(cos * down - sin * right + (side + 1) / 2, 0, side + 1)
    column = np.clip(cos * right + sin * down + (side + 1) / 2, 0, side + 1)
    i, j, n = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64), np.arange(len(pictures))[:, None, None]
    below, beside = row - i, column - j
    upper = (1 - beside) * edge[n, i, j] + beside * edge[n, i, j + 1]
    lower = (1 - beside) * edge[n, i + 1, j] + beside * edge[n, i + 1, j + 1]
    placed: Floats = (1 - below) * upper + below * lower
    return placed
