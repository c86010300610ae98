"""Data that a notebook has at hand: arrays, tensors, or any map-style torch data set of samples."""

# N samples, C channels, H height, W width

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError
from ..augment import Augment
from ..registry import DataSet
from ..sources import ImageInfo, Indices, Source, TensorSource
from ..splits import Splits
from ..wrapped import DatasetSource, Pairs
from .items import Items, read_items
from .labels import Classes, classes_of, plain_targets
from .outputs import READY, outputs_in

__all__ = ["from_arrays"]

IMAGES, TARGETS = ("x", "images", "image", "pixel_values"), ("y", "targets", "labels", "label")


def from_arrays(
    train: object,
    val: object = None,
    test: object = None,
    *,
    augment: Augment | None = None,
    seed: int = 0,
    limit: int | None = None,
    name: str = "arrays",
    classes: bool = True,
    task: str = "classification",
    outputs: int | None = None,
) -> Splits:
    """Splits of data in memory, with the same gate before the test split.

    Each of `train`, `val` and `test` is a pair (images, targets) of tensors, arrays or lists, a mapping with "x" and
    "y", or a map-style data set of pairs (image, target) or of mappings. Images are [N, C, H, W]; [N, H, W, C] with 1
    or 3 channels, uint8 [N, H, W] and arrays [N, H, W] are brought into that form. uint8 is scaled to [0, 1]; floats
    are taken as they are. Targets are read as labels.py says, or with `classes` False left as they are, for a task of
    one's own or for the ready `task` of this name, which are looked at for the number of outputs unless `outputs` says
    it. Where `val` is given, weights learn from `train` and alphas from `val`. `augment` defaults to none,
    because the data may be augmented or be no images at all.

    Raises SupernetError for empty or unequal data, for labels below 0 or unknown to the training data, and for
    validation data of another shape.
    """
    read = [_read(data, key, classes) for data, key in ((train, "train"), (val, "val")) if data is not None]
    labels = [split.labels for split in read if split.labels is not None]
    numbered = classes_of(labels) if classes and labels else None
    source, *held_out = (split.source(numbered) for split in read)
    augment = replace(augment or Augment(), masks=task == "segmentation")
    info = _info(name, source, numbered, augment)
    if not classes and task in READY:
        count = outputs_in(source, task) if outputs is None else outputs
        info = replace(info, task=task, num_classes=count, class_names=tuple(map(str, range(count))))
    for other in held_out:
        _require_same_shape(source, other)
    opener = None if test is None else lambda: _read(test, "test", classes).source(numbered)
    data = DataSet(info=info, train=source, val=next(iter(held_out), None), augment=augment, open_test=opener)
    return Splits(data, seed, limit)


@dataclass(frozen=True, eq=False)
class _Split:
    """One split before its labels are numbered: images in memory or items of a data set, and targets or labels [N]."""

    key: str
    images: Tensor | Items
    targets: Tensor | None
    labels: NDArray[np.generic] | None

    def source(self, classes: Classes | None) -> Source:
        """With labels as class numbers [N]; without classes as they are."""
        numbers: Indices | None = None
        if self.labels is not None:
            numbers = self.labels.astype(np.int64) if classes is None else classes.numbers(self.labels, self.key)
        if isinstance(self.images, Items):
            items = self.images
            return DatasetSource(items, numbers, items.image_size, items.in_chans)
        targets = self.targets if numbers is None else torch.from_numpy(numbers)
        assert targets is not None
        return TensorSource(self.images, targets)


def _read(data: object, key: str, classes: bool) -> _Split:
    pair = _pair(data)
    if pair is not None:
        targets = plain_targets(pair[1]) if classes else _plain(pair[1])
        labels = None if isinstance(targets, Tensor) else targets
        split = _Split(key, _images(pair[0]), targets if isinstance(targets, Tensor) else None, labels)
        count = len(split.images)
        if count != len(targets):
            raise SupernetError(f"{count} images but {len(targets)} targets; each image needs one target")
    elif isinstance(data, Pairs) and not isinstance(data, str):
        items = read_items(data, key)
        split = _Split(key, items, None, items.labels if classes else items.integers)
        count = len(items)
    else:
        raise SupernetError(
            f"{key} is a {type(data).__name__}; give (images, targets), {{'x': images, 'y': targets}} or a map-style "
            "data set of pairs"
        )
    if count == 0:
        raise SupernetError(f"{key} has no samples; give at least one")
    if split.labels is not None and split.labels.dtype.kind == "i" and split.labels.min() < 0:
        raise SupernetError(f"{key} has the label {split.labels.min()}; classes are numbered from 0")
    return split


def _pair(data: object) -> tuple[object, object] | None:
    """(images, targets) where `data` are such, None for a data set; SupernetError for a mapping of other keys."""
    if isinstance(data, Mapping):
        x, y = (next((name for name in names if name in data), None) for names in (IMAGES, TARGETS))
        if x is None or y is None:
            raise SupernetError(f"data have the keys {', '.join(map(str, data))[:80]}; give 'x' and 'y'")
        return data[x], data[y]
    kinds = (Tensor, np.ndarray, list)
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(d, kinds) for d in data):
        return data[0], data[1]
    return None


def _images(images: object) -> Tensor:
    """Images [N, C, H, W] where they are such, else what was given, [N, ...]."""
    array = isinstance(images, np.ndarray | list)
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.array(images))  # a copy: the caller's array may change or be read-only
    if images.ndim == 3 and (array or images.dtype == torch.uint8):
        images = images[:, None]
    elif images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    images = images.detach().cpu().contiguous()
    return images.float() if images.dtype in (torch.float64, torch.float16, torch.bfloat16) else images


def _plain(targets: object) -> Tensor:
    """Targets [N, ...] as floats or whole numbers."""
    tensor = targets.detach().cpu() if isinstance(targets, Tensor) else torch.from_numpy(np.array(targets))
    return tensor.float() if tensor.is_floating_point() else tensor.long()


def _info(name: str, source: Source, classes: Classes | None, augment: Augment) -> ImageInfo:
    images, _ = source.fetch(np.zeros(1, dtype=np.int64), None)
    labels = source.labels
    names = classes.names if classes is not None else ()
    if classes is None and labels is not None:
        names = tuple(map(str, range(int(labels.max()) + 1)))
    return ImageInfo(
        name=name,
        num_classes=len(names),
        class_names=names,
        in_chans=images.shape[1] if images.ndim > 1 else 1,
        image_size=min(images.shape[-2:]) if images.ndim == 4 else 0,
        mean=augment.mean,
        std=augment.std,
    )


def _require_same_shape(train: Source, val: Source) -> None:
    """Raises SupernetError for validation samples of another shape than the training ones."""
    first = np.zeros(1, dtype=np.int64)
    one, other = (list(source.fetch(first, None)[0].shape[1:]) for source in (train, val))
    if one != other:
        raise SupernetError(f"val has samples of the shape {other}, and train of {one}; bring them into one form")
