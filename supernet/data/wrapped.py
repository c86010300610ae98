"""Sources around code that draws from the global generators: timm's transforms and data sets of the user's own.

Such code is made reproducible from outside. Around each sample Python's, numpy's and torch's CPU generators are seeded
from (seed, stream, epoch, index) and put back afterwards, so that reading data leaves no trace in the training's own
randomness, and a sample is the same in any process and any batch.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..counter import derive
from ..errors import SupernetError
from .pictures import in_mode
from .sources import Counter, Indices, Source, centre_square, to_uint8

__all__ = ["DatasetSource", "Pairs", "TransformSource", "generators_kept"]


@runtime_checkable
class Pairs(Protocol):
    """A map-style data set of pairs (image, target)."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class TransformSource:
    """Pictures of another source through `transform`, in training only; evaluation reads the source itself."""

    source: Source
    transform: Callable[[Image.Image], Tensor]
    ready: bool = True
    in_memory: bool = False

    @property
    def labels(self) -> Indices | None:
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and targets [B, ...] of samples `index` [B], as the transform leaves them.

        `at` None reads without the transform. Raises SupernetError where the transform does not give tensors.
        """
        if at is None:
            return self.source.fetch(index, None)
        images = []
        with generators_kept():
            for i in index.tolist():
                _seed_all(derive(at.seed, at.stream, at.epoch, i))
                images.append(self.transform(self.picture(i)))
            targets = torch.stack([self.source.target(i) for i in index.tolist()])
        if not all(isinstance(image, Tensor) for image in images):
            raise SupernetError(
                f"the transform gives {type(images[0]).__name__}, not a tensor; let it end with ToTensor"
            )
        return torch.stack(images), targets

    def picture(self, index: int) -> Image.Image:
        return self.source.picture(index)

    def target(self, index: int) -> Tensor:
        """The target [...] of one sample, as the source has it."""
        return self.source.target(index)


@dataclass(frozen=True, eq=False)
class DatasetSource:
    """A map-style data set of pairs (image, target): a PIL image, or a tensor that is kept as it is.

    PIL images become uint8 [C, image_size, image_size]. `known` are the labels [N] where they can be had without
    reading the images.
    """

    dataset: Pairs
    known: Indices | None = None
    image_size: int = 32
    in_chans: int = 3
    ready: bool = False
    in_memory: bool = False

    @property
    def labels(self) -> Indices | None:
        return self.known

    def __len__(self) -> int:
        return len(self.dataset)

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] and targets [B, ...] of samples `index` [B].

        What the dataset draws depends on `at` and the number of the sample alone.
        """
        at = at or Counter(0, "evaluation", 0)
        images, targets = [], []
        with generators_kept():
            for i in index.tolist():
                _seed_all(derive(at.seed, at.stream, at.epoch, i))
                image, target = self.dataset[i]
                images.append(self._tensor(image))
                targets.append(torch.as_tensor(target if self.known is None else self.known[i]))
        return _stacked(images), torch.stack(targets)

    def picture(self, index: int) -> Image.Image:
        with generators_kept():
            _seed_all(derive(0, "evaluation", 0, index))
            image = self.dataset[index][0]
        if not isinstance(image, Image.Image):
            raise SupernetError(
                f"the data set gives {type(image).__name__}, not PIL images; a transform needs PIL images"
            )
        return in_mode(image, self.in_chans)

    def target(self, index: int) -> Tensor:
        """The target [...] of one sample, without its image where the labels are known."""
        return torch.as_tensor(self.dataset[index][1] if self.known is None else self.known[index])

    def _tensor(self, image: object) -> Tensor:
        if isinstance(image, Image.Image):
            return to_uint8(centre_square(in_mode(image, self.in_chans), self.image_size))
        return torch.as_tensor(image)


def _stacked(images: list[Tensor]) -> Tensor:
    """Samples [B, ...] of one shape; raises SupernetError where they have several."""
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        one, other = (list(shape) for shape in sorted(shapes)[:2])
        raise SupernetError(f"samples have several shapes, {one} and {other}; make them one, or give PIL images")
    return torch.stack(images)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the accelerators too


@contextmanager
def generators_kept() -> Iterator[None]:
    """Inside, Python, numpy and torch may draw; afterwards their generators are where they were."""
    python, arrays, tensors = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.default_generator.set_state(tensors)
