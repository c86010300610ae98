"""The final evaluation through timm's own loader, so that its number is the one that timm's `validate` prints."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import SupernetError
from .loader import Batch
from .sources import ImageInfo
from .view import View

__all__ = ["as_batches", "has_pictures", "timm_test_loader"]


class _Pictures(Dataset[tuple[object, int]]):
    """A view as timm's data sets are: PIL images through `transform`, which timm's loader sets."""

    def __init__(self, view: View, labels: list[int]) -> None:
        self.view, self.labels = view, labels
        self.transform: Callable[[Image], object] = lambda image: image

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, position: int) -> tuple[object, int]:
        picture = self.view.source.picture(int(self.view.index[position]))
        return self.transform(picture), self.labels[position]


def has_pictures(view: View) -> bool:
    """Whether `timm_test_loader` can read the view: it has class labels, and its samples are pictures."""
    if view.labels is None:
        return False
    try:
        view.source.picture(int(view.index[0]))
    except SupernetError:
        return False
    return True


def timm_test_loader(
    view: View, info: ImageInfo, *, batch_size: int, workers: int = 0
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """The loader of timm over the pictures of `view`: (images [B, C, H, W], labels [B]) on the CPU, in order.

    Shorter side to `info.image_size` (bilinear), central crop with crop_pct=1, normalised. Raises SupernetError for a
    view that has no labels or no pictures (float tensors).
    """
    from timm.data import create_loader

    labels = view.labels
    if labels is None:
        raise SupernetError("timm's loader needs class labels; evaluate other targets with EvalLoader")
    pictures: Any = _Pictures(view, labels.tolist())  # what timm needs of its own ImageDataset: `transform`
    return create_loader(
        pictures,
        (info.in_chans, info.image_size, info.image_size),
        batch_size,
        is_training=False,
        use_prefetcher=False,  # its workers stay on the CPU; the caller moves the batches
        interpolation="bilinear",
        mean=info.mean or (0.0,) * info.in_chans,
        std=info.std or (1.0,) * info.in_chans,
        crop_pct=1.0,
        num_workers=workers,
        persistent_workers=False,
    )


def as_batches(loader: Iterable[tuple[Tensor, Tensor]], view: View, device: torch.device) -> Iterator[Batch]:
    """Pairs (images [B, C, H, W], labels [B]) of timm's loader over `view`, in the form that all loaders give."""
    start = 0
    for images, labels in loader:
        index = torch.from_numpy(view.index[start : start + len(labels)])
        start += len(labels)
        yield Batch(images.to(device), labels.to(device), index)
