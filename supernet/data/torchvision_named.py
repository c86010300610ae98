"""Data sets by their torchvision names: CIFAR-10 and -100, MNIST, Fashion-MNIST, SVHN.

The means and deviations are those of the training splits; CIFAR's to all digits of the public code of DARTS.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import DataConfig
from ..errors import SupernetError
from .augment import Augment
from .registry import DATASETS, DataSet, data_root, in_memory
from .standard import standard

__all__ = ["NAMED"]

_TEN = tuple(str(d) for d in range(10))
_CIFAR = Augment(
    **standard("cifar10"),
    mean=(0.49139968, 0.48215827, 0.44653124),
    std=(0.24703233, 0.24348505, 0.26158768),
)  # fmt: skip


@dataclass(frozen=True)
class _Named:
    cls: str  # class in torchvision.datasets
    images: int  # of the training split
    shape: tuple[int, int, int]  # of an image: channels, height, width
    classes: int
    augment: Augment
    class_names: tuple[str, ...] | None = None  # None: asked of the data set
    by_split: bool = False  # split="train" in place of train=True


NAMED = {
    "cifar10": _Named("CIFAR10", 50000, (3, 32, 32), 10, _CIFAR),
    "cifar100": _Named(
        "CIFAR100",
        50000,
        (3, 32, 32),
        100,
        Augment(**standard("cifar100"), mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    ),
    "fashion_mnist": _Named(
        "FashionMNIST", 60000, (1, 28, 28), 10, Augment(**standard("fashion_mnist"), mean=(0.2860,), std=(0.3530,))
    ),
    "mnist": _Named("MNIST", 60000, (1, 28, 28), 10, Augment(**standard("mnist"), mean=(0.1307,), std=(0.3081,)), _TEN),
    "svhn": _Named(
        "SVHN",
        73257,
        (3, 32, 32),
        10,
        Augment(**standard("svhn"), mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
        _TEN,
        True,
    ),
}


def _build(name: str, config: DataConfig) -> DataSet:
    entry = NAMED[name]
    names = entry.class_names or tuple(_open(name, config, True).classes)
    return in_memory(name, config, partial(_arrays, name, config), names, entry.augment)


def _arrays(name: str, config: DataConfig, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data = _open(name, config, train)
    labels = np.asarray(data.labels if NAMED[name].by_split else data.targets, dtype=np.int64)
    images = np.asarray(data.data, dtype=np.uint8)
    if images.ndim == 3:
        images = images[:, None]
    return (images.transpose(0, 3, 1, 2) if images.shape[-1] == 3 else images), labels


def _open(name: str, config: DataConfig, train: bool) -> Any:
    from torchvision import datasets

    root, entry = data_root(name, config), NAMED[name]
    split: dict[str, str | bool] = {"split": "train" if train else "test"} if entry.by_split else {"train": train}
    try:
        return getattr(datasets, entry.cls)(root, download=config.download, **split)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SupernetError(f"{name} cannot be read from data.root={root} ({reason}); try data.download=true") from None


for _name in NAMED:
    DATASETS.register(_name)(partial(_build, _name))
