"""The registry of data sets, and what an entry builds.

An entry is a function of a `DataConfig`. It reads the training split; the test split stays behind `open_test`, a
function that nothing but the final evaluation calls.
"""

# N samples, C channels, H height, W width

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import DataConfig
from ..errors import SupernetError, unknown
from ..files import JSON
from ..registry import Registry
from .augment import Augment
from .sources import ImageInfo, Source, TensorSource

__all__ = ["DATASETS", "DataSet", "Entry", "data_root", "fit_pixels", "in_memory", "no_kwargs", "per_channel"]

Arrays = Callable[[bool], tuple[NDArray[np.uint8], NDArray[np.int64]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """What an entry gives: the training split, the way to the test split, and the default augmentation.

    `val` is set only where the user brought a validation split of their own. `open_test` is None without a test split.
    `check` looks for what would end a training hours later and raises SupernetError; None where nothing can be wrong.
    `outputs` says of each of the network's outputs what training has of it, in plain values: how many samples have a
    label, the least and the largest of a number. It is empty where counts of classes tell that.
    """

    info: ImageInfo
    train: Source
    augment: Augment
    val: Source | None = None
    open_test: Callable[[], Source] | None = None
    check: Callable[[], None] | None = None
    outputs: Mapping[str, JSON] = field(default_factory=dict)


# Of the settings; one whose targets may be read for several tasks has a second argument, `task`.
Entry = Callable[..., DataSet]
OWN = ("folder", "text", "csv")  # data of the user's own, which nobody can fetch
DATASETS: Registry[Entry] = Registry("data set")


def in_memory(name: str, config: DataConfig, arrays: Arrays, class_names: tuple[str, ...], augment: Augment) -> DataSet:
    """A data set whose splits are arrays: `arrays(train)` gives uint8 [N, C, H, W] and labels [N].

    `augment` holds the mean and deviation of the native channels.
    """
    no_kwargs(name, config)

    def read(train: bool) -> TensorSource:
        images, labels = arrays(train)
        pixels = fit_pixels(torch.from_numpy(np.ascontiguousarray(images)), config.in_chans, config.image_size)
        return TensorSource(pixels, torch.from_numpy(np.asarray(labels, dtype=np.int64)))

    source = read(True)
    channels, _, width = source.images.shape[1:]
    augment = per_channel(augment, channels)
    info = ImageInfo(
        name=name, num_classes=len(class_names), class_names=class_names, in_chans=channels, image_size=width,
        mean=augment.mean, std=augment.std,
    )  # fmt: skip
    return DataSet(info=info, train=source, augment=augment, open_test=lambda: read(False))


def fit_pixels(images: Tensor, in_chans: int | None, size: int | None) -> Tensor:
    """uint8 images [N, C, H, W] with this many channels (1 or 3) and pixels a side; None leaves them."""
    if in_chans not in (None, 1, 3):
        raise SupernetError(f"data.in_chans={in_chans} must be 1 (grey) or 3 (RGB)")
    if in_chans == 3 and images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1).contiguous()
    elif in_chans == 1 and images.shape[1] == 3:  # the weights and the rounding of Pillow's mode L
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32)
        parts = [(chunk.int() * weights[:, None, None]).sum(1, keepdim=True) for chunk in images.split(4096)]
        images = torch.cat([((part + 0x8000) >> 16).to(torch.uint8) for part in parts])
    if size is None or images.shape[-2:] == (size, size):
        return images
    resize = torch.nn.functional.interpolate
    parts = [resize(c.float(), (size, size), mode="bilinear", antialias=True) for c in images.split(4096)]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def per_channel(augment: Augment, in_chans: int) -> Augment:
    """The same with mean and deviation for this many channels: grey repeated, RGB averaged."""

    def fit(values: tuple[float, ...]) -> tuple[float, ...]:
        return values if len(values) in (0, in_chans) else (sum(values) / len(values),) * in_chans

    return replace(augment, mean=fit(augment.mean), std=fit(augment.std))


def data_root(name: str, config: DataConfig) -> Path:
    """The folder that data.root names; raises SupernetError where it is not set, or not there and not to be made."""
    if not config.root:
        fetch = "" if name in OWN else " (and data.download=true to fetch it)"
        raise SupernetError(f"data.root is not set; {name} needs data.root=PATH{fetch}")
    root = Path(config.root).expanduser()
    try:
        exists = root.is_dir()
    except (OSError, ValueError):
        exists = False
    if not exists and (name in OWN or not config.download):
        raise SupernetError(f"data.root={config.root} is no folder; give data.root=PATH of the images of {name}")
    return root


def no_kwargs(name: str, config: DataConfig, allowed: tuple[str, ...] = ()) -> dict[str, object]:
    """data.kwargs, checked against the keys that this data set takes."""
    for key in config.kwargs:
        if key not in allowed:
            raise SupernetError(unknown(f"setting of data set {name!r} in data.kwargs", key, allowed))
    return dict(config.kwargs)
