"""The embedded default: scikit-learn's 1,797 handwritten digits of 8x8 grey pixels, no download.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49.
"""

import numpy as np
from numpy.typing import NDArray

from ..config import DataConfig
from ..counter import permutation
from .augment import Augment
from .registry import DATASETS, DataSet, in_memory
from .standard import standard

__all__ = ["digits", "read_digits"]

TEST = 360  # images of the test split, 36 of each class


@DATASETS.register("digits")
def digits(config: DataConfig) -> DataSet:
    """1,437 training and 360 test images, cut once and for all: the seed of a run does not move them."""
    augment = Augment(**standard("digits"), mean=(0.3053,), std=(0.3760,))
    return in_memory("digits", config, read_digits, tuple(str(d) for d in range(10)), augment)


def read_digits(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [N, 1, 8, 8] and labels [N] of a split."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = permutation(0, "digits/test", 0, len(labels))
    test = np.concatenate([order[labels[order] == d][: TEST // 10] for d in range(10)])
    chosen = np.setdiff1d(np.arange(len(labels)), test) if train else np.sort(test)
    pixels = np.rint(images.reshape(-1, 1, 8, 8)[chosen] * (255 / 16)).astype(np.uint8)
    return pixels, labels[chosen].astype(np.int64)
