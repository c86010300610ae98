"""Pictures with a mask each: the class of every pixel, brought to the square of its picture without mixing classes.

A mask is a grey or palette picture of the same size whose values are the classes 0, 1, ...; 255 stands for pixels that
count nowhere.
"""

# N samples, B batch, C channels, H height, W width

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ... import files
from ...errors import SupernetError
from ..augment import IGNORE
from ..pictures import UNREADABLE, opened
from ..sources import Counter, FileSource, Indices, centre_square, to_uint8

__all__ = ["MaskSource", "classes_in"]

MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")  # of Pillow: one whole number a pixel


@dataclass(frozen=True, eq=False)
class MaskSource:
    """The pictures of another source with the masks of the same samples, [N] paths, of `classes` classes."""

    pictures: FileSource
    masks: Sequence[str]
    classes: int
    ready: bool = False
    in_memory: bool = False
    labels: Indices | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in uint8 and masks [B, H, W] in int64 of samples `index` [B], the same square of both."""
        images, masks = [], []
        for i in index.tolist():
            picture = self.picture(i)
            masks.append(self._mask(i, picture.size))
            images.append(to_uint8(centre_square(picture, self.pictures.image_size)))
        return torch.stack(images), torch.stack(masks)

    def picture(self, index: int) -> Image.Image:
        return self.pictures.picture(index)

    def target(self, index: int) -> Tensor:
        """The mask [H, W] of one sample."""
        return self._mask(index, self.picture(index).size)

    def _mask(self, index: int, size: tuple[int, int]) -> Tensor:
        path, values = self.masks[index], _values(self.masks[index])
        height, width = values.shape
        if (width, height) != size:
            raise SupernetError(
                f"mask {path} has {width}x{height} pixels, and its picture {self.pictures.paths[index]} "
                f"{size[0]}x{size[1]}; make them of one size"
            )
        strange = values[(values >= self.classes) & (values != IGNORE)]
        if len(strange):
            raise SupernetError(
                f"mask {path} has the class {strange[0]}; there are 0 to {self.classes - 1}, and {IGNORE} for pixels "
                "that do not count"
            )
        square = centre_square(Image.fromarray(values), self.pictures.image_size, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(square, dtype=np.int64))


def classes_in(masks: Sequence[str]) -> dict[int, int]:
    """The classes of these masks, sorted, each with the number of masks that have it; reads all of them."""
    counts: dict[int, int] = {}
    for path in masks:
        for value in np.unique(_values(path)).tolist():
            if value != IGNORE:
                counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))


def _values(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The values [H, W] of a mask; raises SupernetError for colours, and for a value above 255."""
    try:
        with open(files.open_plain(path), "rb") as file, opened(file, path) as image:
            if image.mode not in MODES:
                raise ValueError(f"it is in {image.mode}, and masks have one class number a pixel, grey or palette")
            values = np.asarray(image)
    except SupernetError:
        raise
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SupernetError(f"mask {path} cannot be read: {reason}") from None
    if int(values.min()) < 0 or int(values.max()) > IGNORE:
        raise SupernetError(f"mask {path} has the value {values.max()}; classes are 0 to {IGNORE - 1}")
    return values.astype(np.uint8)
