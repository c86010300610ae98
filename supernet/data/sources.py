"""What a loader reads: images by number, in memory or from files.

Every source gives uint8 images [C, H, W] of one size, so that one batched augmentation serves all; only sources that
wrap a transform of their own (see wrapped.py) give finished float tensors.
"""

# N samples, B batch, C channels, H height, W width

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..counter import uniform
from ..errors import SupernetError
from .pictures import decoded

__all__ = [
    "Counter",
    "FileSource",
    "ImageInfo",
    "Source",
    "TensorSource",
    "centre_square",
    "to_uint8",
]

Indices = NDArray[np.int64]
Targets = NDArray[np.int64] | NDArray[np.float32]


class Counter(NamedTuple):
    """Where in a run a sample is read; with its index it fixes every random draw."""

    seed: int
    stream: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What a network must know of the data. `mean` and `std` are per channel, for values in [0, 1].

    `task` is the registered name of what the targets are for, `num_classes` the number of the network's outputs and
    `class_names` their names. Numbers that are to be standardised have a `target_mean` and a `target_std` each. Where
    the data are no `images` the size, the channels, `mean` and `std` say nothing.
    """

    name: str
    num_classes: int  # 0 where the targets are no classes
    class_names: tuple[str, ...] = ()
    in_chans: int = 3
    image_size: int = 32  # pixels a side
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    task: str = "classification"
    images: bool = True
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()


class Source(Protocol):
    """Samples by number. `labels` are known without decoding, for stratified splits: int64 [N], or None."""

    @property
    def ready(self) -> bool:
        """Whether images fetched with a counter are augmented and normalised already."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether fetching costs no more than indexing, so that worker processes would only copy."""
        ...

    @property
    def labels(self) -> Indices | None: ...

    def __len__(self) -> int: ...

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and targets [B, ...]; `at` None reads for evaluation, without any randomness."""
        ...

    def picture(self, index: int) -> Image.Image:
        """The undistorted image of one sample, for transforms that work on PIL images."""
        ...

    def target(self, index: int) -> Tensor:
        """The target of one sample [...], read without its image where that can be."""
        ...


@dataclass(frozen=True, eq=False)
class TensorSource:
    """All samples in memory: images [N, C, H, W] in uint8 (or any tensor [N, ...]) and targets [N, ...]."""

    images: Tensor
    targets: Tensor
    ready: bool = False
    in_memory: bool = True

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise SupernetError(
                f"{len(self.images)} images but {len(self.targets)} targets; each image needs one target"
            )

    @property
    def labels(self) -> Indices | None:
        return self.targets.numpy() if self.targets.dtype == torch.int64 and self.targets.ndim == 1 else None

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] (or what else was given, [B, ...]) and targets [B, ...] of samples `index` [B]."""
        chosen = torch.from_numpy(index)
        return self.images[chosen], self.targets[chosen]

    def target(self, index: int) -> Tensor:
        """The target [...] of one sample."""
        return self.targets[index]

    def picture(self, index: int) -> Image.Image:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise SupernetError(
                "only uint8 images with 1 or 3 channels become pictures; give uint8 images [N, C, H, W]"
            )
        pixels = self.images[index].permute(1, 2, 0).numpy()
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files, decoded when they are read: shorter side to `image_size` (bilinear), then the central square.

    With `crop_scale`, training reads a random part instead: its share of the area is drawn from that range, its aspect
    ratio from `crop_ratio`. Draws that do not fit into the image are cut to it, so four numbers a sample always do.
    """

    paths: Sequence[str]  # [N]
    targets: Targets  # [N] class numbers, or [N, K]
    image_size: int
    in_chans: int = 3
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    ready: bool = False
    in_memory: bool = False

    @property
    def labels(self) -> Indices | None:
        classes = self.targets.ndim == 1 and self.targets.dtype.kind == "i"
        return self.targets.astype(np.int64, copy=False) if classes else None

    def __len__(self) -> int:
        return len(self.paths)

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, image_size, image_size] in uint8 and targets [B] or [B, K] of samples `index` [B]."""
        if at is None or self.crop_scale is None:
            squares = [centre_square(self.picture(i), self.image_size) for i in index.tolist()]
        else:
            draws = uniform(at.seed, f"{at.stream}/crop", at.epoch, index, 4)
            pairs = zip(index.tolist(), draws.tolist(), strict=True)
            squares = [self._random_square(self.picture(i), *row) for i, row in pairs]
        return torch.stack([to_uint8(square) for square in squares]), torch.from_numpy(self.targets[index])

    def picture(self, index: int) -> Image.Image:
        return decoded(self.paths[index], self.in_chans)

    def target(self, index: int) -> Tensor:
        """The class of one sample, a scalar, or its targets [K]."""
        return torch.as_tensor(self.targets[index])

    def _random_square(self, image: Image.Image, area: float, ratio: float, top: float, left: float) -> Image.Image:
        low, high = self.crop_scale or (1.0, 1.0)
        area = image.width * image.height * (low + (high - low) * area)
        narrow, wide = (math.log(r) for r in self.crop_ratio)
        ratio = math.exp(narrow + (wide - narrow) * ratio)
        width = min(max(round(math.sqrt(area * ratio)), 1), image.width)
        height = min(max(round(math.sqrt(area / ratio)), 1), image.height)
        x, y = int(left * (image.width - width + 1)), int(top * (image.height - height + 1))
        part = image.crop((x, y, x + width, y + height))
        return part.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)


def centre_square(image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
    """Shorter side to `size`, then the central square: what timm's evaluation transform does with crop_pct=1."""
    width, height = image.size
    short = min(width, height)
    target = (size, int(size * height / short)) if width <= height else (int(size * width / short), size)
    if target != image.size:
        image = image.resize(target, resample)
    left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))


def to_uint8(image: Image.Image) -> Tensor:
    """Pixels of a grey or RGB image as uint8 [C, H, W]."""
    pixels = np.array(image, dtype=np.uint8)  # a copy: tensors over read-only memory make torch warn
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))
