"""Data that a notebook has at hand: arrays, tensors, or any map-style torch data set of pairs."""

# N samples, C channels, H height, W width

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import SupernetError
from .augment import Augment
from .registry import DataSet
from .sources import ImageInfo, Indices, Source, TensorSource
from .splits import Splits
from .wrapped import DatasetSource, Pairs

__all__ = ["from_arrays"]

Array: TypeAlias = "Tensor | NDArray[np.generic]"


def from_arrays(
    train: object,
    val: object = None,
    test: object = None,
    *,
    augment: Augment | None = None,
    seed: int = 0,
    limit: int | None = None,
    name: str = "arrays",
) -> Splits:
    """Splits of data in memory, with the same gate before the test split.

    Each of `train`, `val` and `test` is a pair (images, targets) of tensors or numpy arrays, or a map-style data set of
    pairs (image, target). Images are [N, C, H, W]; numpy may also bring [N, H, W], and [N, H, W, C] with 1 or 3
    channels. uint8 is scaled to [0, 1]; floats are taken as they are. Where `val` is given, weights learn from `train`
    and alphas from `val`. `augment` defaults to none, because the data may be augmented or be no images at all.

    Raises SupernetError for empty or unequal data and for targets below 0.
    """
    source = _source(train, "train")
    held_out = None if val is None else _source(val, "val")
    augment = augment or Augment()
    info = _info(name, source, held_out, augment)
    opener = None if test is None else lambda: _source(test, "test")
    return Splits(DataSet(info=info, train=source, val=held_out, augment=augment, open_test=opener), seed, limit)


def _source(data: object, key: str) -> Source:
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(d, (Tensor, np.ndarray)) for d in data):
        source: Source = TensorSource(_images(data[0]), _targets(data[1]))
    elif isinstance(data, Pairs):
        source = _dataset(data, key)
    else:
        raise SupernetError(
            f"{key} is a {type(data).__name__}; give (images, targets) or a map-style data set of pairs"
        )
    if len(source) == 0:
        raise SupernetError(f"{key} has no samples; give at least one")
    if source.labels is not None and source.labels.min() < 0:
        raise SupernetError(f"{key} has the label {source.labels.min()}; classes are numbered from 0")
    return source


def _images(images: Array) -> Tensor:
    if isinstance(images, np.ndarray):
        if images.ndim == 3:
            images = images[:, None]
        elif images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
            images = images.transpose(0, 3, 1, 2)
        images = torch.from_numpy(np.array(images))  # a copy: the caller's array may change or be read-only
    images = images.detach().cpu().contiguous()
    return images.float() if images.dtype in (torch.float64, torch.float16, torch.bfloat16) else images


def _targets(targets: Array) -> Tensor:
    targets = torch.from_numpy(np.array(targets)) if isinstance(targets, np.ndarray) else targets.detach().cpu()
    return targets.float() if targets.is_floating_point() else targets.long()


def _dataset(data: Pairs, key: str) -> DatasetSource:
    if len(data) == 0:
        raise SupernetError(f"{key} has no samples; give at least one")
    try:
        first, target = data[0]
    except (TypeError, ValueError):
        raise SupernetError(f"{key} gives no pairs (image, target) but {type(data[0]).__name__}") from None
    labels = (
        _labels(data) if torch.as_tensor(target).ndim == 0 and not torch.as_tensor(target).is_floating_point() else None
    )
    if isinstance(first, Tensor):
        return DatasetSource(data, labels)
    if not hasattr(first, "convert"):
        return DatasetSource(data, labels)
    return DatasetSource(data, labels, min(first.size), 1 if first.mode in ("1", "L") else 3)


def _labels(data: object) -> Indices:
    """Labels by the cheapest way there is: stored ones, those of a wrapped data set, or one pass over the data."""
    if isinstance(data, torch.utils.data.Subset):
        return _labels(data.dataset)[np.asarray(data.indices, dtype=np.int64)]
    if isinstance(data, torch.utils.data.TensorDataset):
        return np.asarray(data.tensors[1], dtype=np.int64)
    assert isinstance(data, Pairs)
    stored = getattr(data, "targets", None)
    if stored is not None and len(stored) == len(data) and getattr(data, "target_transform", None) is None:
        return np.asarray(stored, dtype=np.int64)
    return np.asarray([int(data[i][1]) for i in range(len(data))], dtype=np.int64)


def _info(name: str, source: Source, val: Source | None, augment: Augment) -> ImageInfo:
    images, _ = source.fetch(np.zeros(1, dtype=np.int64), None)
    labels = [s.labels for s in (source, val) if s is not None and s.labels is not None]
    classes = max((int(label.max()) + 1 for label in labels), default=0)
    return ImageInfo(
        name=name,
        num_classes=classes,
        class_names=tuple(str(c) for c in range(classes)),
        in_chans=images.shape[1] if images.ndim > 1 else 1,
        image_size=min(images.shape[-2:]) if images.ndim == 4 else 0,
        mean=augment.mean,
        std=augment.std,
    )
