"""Map-style data sets of the user's own: what their samples are, decided from many of them and not from the first."""

# N samples, C channels, H height, W width

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...errors import SupernetError
from ..wrapped import Pairs, generators_kept
from .labels import plain_targets

__all__ = ["Items", "read_items"]

LOOKED_AT = 64  # samples, spread over the whole set
PICTURES = ("image", "img", "pixel_values", "x", "input")
LABELS = ("label", "labels", "target", "targets", "y", "class")


@dataclass(frozen=True, eq=False)
class Items:
    """A data set whose samples are pairs (image, target), whatever they were before.

    Pictures become uint8 [in_chans, image_size, image_size]; tensors stay, but that [H, W, C] becomes [C, H, W] and
    uint8 [H, W] becomes [1, H, W]. `labels` [N] are those that name classes, None where targets do not.
    """

    dataset: Pairs
    keys: tuple[str, str] | None  # of samples that are mappings
    labels: NDArray[np.generic] | None
    image_size: int = 32
    in_chans: int = 3

    @property
    def integers(self) -> NDArray[np.generic] | None:
        """The labels where they are whole numbers, for tasks of the user's own."""
        return self.labels if self.labels is not None and self.labels.dtype.kind == "i" else None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[object, object]:
        image, target = _pair(self.dataset[index], self.keys)
        return _channels_first(image), target


def read_items(dataset: Pairs, key: str) -> Items:
    """`dataset` looked at; raises SupernetError for samples that are no pairs, or of several shapes or channels."""
    count = len(dataset)
    if count == 0:
        raise SupernetError(f"{key} has no samples; give at least one")
    keys = _keys(dataset[0], key)
    places = sorted({int(i) for i in np.linspace(0, count - 1, LOOKED_AT)})
    with generators_kept():  # what the data draw while they are looked at is no part of a run
        pairs = [_pair(dataset[i], keys) for i in places]
        size, in_chans = _form([_channels_first(image) for image, _ in pairs], key)
        labels = _labels(dataset, keys) if _are_labels([target for _, target in pairs]) else None
    return Items(dataset, keys, labels, size, in_chans)


def _keys(item: object, where: str) -> tuple[str, str] | None:
    if isinstance(item, Mapping):
        picture, label = (next((n for n in names if n in item), None) for names in (PICTURES, LABELS))
        if picture is None or label is None:
            raise SupernetError(
                f"{where} gives mappings with the keys {', '.join(map(str, item))[:80]}; they need 'image' and 'label'"
            )
        return picture, label
    if not (isinstance(item, tuple | list) and len(item) == 2):
        what = f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
        raise SupernetError(f"{where} gives no pairs (image, target) but {what}")
    return None


def _pair(item: object, keys: tuple[str, str] | None) -> tuple[object, object]:
    if keys is not None:
        assert isinstance(item, Mapping)
        return item[keys[0]], item[keys[1]]
    assert isinstance(item, tuple | list)
    return item[0], item[1]


def _channels_first(image: object) -> object:
    """A tensor or array as [C, H, W] where its shape leaves no doubt; anything else as it is."""
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.array(image))
    if isinstance(image, Tensor):
        if image.ndim == 3 and image.shape[-1] in (1, 3) and image.shape[0] not in (1, 3):
            return image.permute(2, 0, 1).contiguous()
        if image.ndim == 2 and image.dtype == torch.uint8:
            return image[None]
    return image


def _form(images: list[object], key: str) -> tuple[int, int]:
    """(pixels a side, channels) of pictures: the shorter side of most, colour where any has colour."""
    pictures = [image for image in images if isinstance(image, Image.Image)]
    if pictures and len(pictures) < len(images):
        raise SupernetError(f"{key} gives pictures and tensors; give one kind")
    if pictures:
        sides = Counter(min(picture.size) for picture in pictures)
        grey = all(picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;") for picture in pictures)
        return sides.most_common(1)[0][0], 1 if grey else 3
    shapes = Counter(tuple(image.shape) for image in images if isinstance(image, Tensor))
    if len(shapes) > 1:
        some = " and ".join(str(list(shape)) for shape in list(shapes)[:2])
        raise SupernetError(f"{key} has samples of several shapes, such as {some}; make them one, or give PIL images")
    return 32, 3


def _are_labels(targets: list[object]) -> bool:
    """Whether targets name classes: texts, whole numbers, or one-hot rows."""
    if any(isinstance(target, str) for target in targets):
        return True
    first = torch.as_tensor(targets[0])
    return (first.ndim == 0 or first.shape == (1,)) and not first.is_floating_point()


def _labels(dataset: object, keys: tuple[str, str] | None) -> NDArray[np.generic]:
    """Labels by the cheapest way there is: stored ones, those of a wrapped data set, or one pass over the data."""
    if isinstance(dataset, torch.utils.data.Subset):
        return _labels(dataset.dataset, keys)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, torch.utils.data.TensorDataset):
        return _flat(dataset.tensors[1])
    assert isinstance(dataset, Pairs)
    stored = getattr(dataset, "targets", None)
    if stored is not None and len(stored) == len(dataset) and getattr(dataset, "target_transform", None) is None:
        return _flat(stored)
    return _flat([_scalar(_pair(dataset[i], keys)[1]) for i in range(len(dataset))])


def _scalar(target: object) -> object:
    return target if isinstance(target, str) else torch.as_tensor(target).item()


def _flat(targets: object) -> NDArray[np.generic]:
    labels = plain_targets(targets)
    return labels.numpy() if isinstance(labels, Tensor) else labels
