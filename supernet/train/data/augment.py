"""Crop, flip and cutout of whole batches, from draws that were counted on the CPU, applied on any device.

The order is the one of DARTS (arXiv:1806.09055, its public code): zero padding of the raw image and a random crop, a
mirror, normalisation, then cutout (DeVries and Taylor, arXiv:1708.04552), whose square is 0 after normalisation.
"""

# B batch, C channels, H height, W width, D draws

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError
from .counter import uniform

__all__ = ["Augment"]

_DRAWS = 5  # crop row, crop column, flip, cutout row, cutout column; always all, so that no setting shifts another


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to a batch of images after loading; the defaults do nothing but scale uint8 to [0, 1].

    `pad` and `cutout` are pixels. Both shrink to fit small images: pad to at most an eighth and cutout to at most a
    half of the shorter side, so that 8x8 digits keep 1 and 4. `mean` and `std` are per channel, for values in [0, 1];
    empty ones leave the values alone.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or any(not s > 0 for s in self.std):
            raise SupernetError(f"std={self.std} must have one value above 0 for each of the {len(self.mean)} means")

    def fitted(self, side: int) -> "Augment":
        """The same with pad and cutout as an image with this shorter side, in pixels, takes them."""
        return replace(self, pad=min(self.pad, side // 8), cutout=min(self.cutout, side // 2))

    def draws(self, seed: int, stream: str, epoch: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Numbers in [0, 1), shape [B, D], one row for each sample index; they depend on nothing but the arguments."""
        return uniform(seed, stream, epoch, index, _DRAWS)

    def apply(self, images: Tensor, draws: NDArray[np.float64] | None = None) -> Tensor:
        """Images [B, C, H, W] with these draws [B, D]; None is evaluation, which only normalises.

        uint8 becomes float32 in [0, 1] before normalisation; other types are kept, and so are inputs that are no images
        as long as nothing but scaling is asked for.
        """
        if draws is None or not (self.pad or self.flip or self.cutout):
            return self._normalise(images)
        height, width = images.shape[-2:]
        fitted = self.fitted(min(height, width))
        out = fitted._normalise(fitted._crop(images, draws))
        return fitted._cut(out, draws) if fitted.cutout else out

    def _crop(self, images: Tensor, draws: NDArray[np.float64]) -> Tensor:
        height, width = images.shape[-2:]
        shift = np.floor(draws[:, :2] * (2 * self.pad + 1)).astype(np.int64) - self.pad  # [B, 2]
        rows = np.arange(height)[None, :] + shift[:, :1]  # [B, H]
        columns = np.broadcast_to(np.arange(width)[None, :], (len(draws), width))
        if self.flip:
            columns = np.where(draws[:, 2:3] < 0.5, columns[:, ::-1], columns)
        columns = columns + shift[:, 1:2]  # [B, W]
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        flat = rows.clip(0, height - 1)[:, :, None] * width + columns.clip(0, width - 1)[:, None, :]  # [B, H, W]
        index = torch.from_numpy(flat).to(images.device).flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
        out = images.flatten(2).gather(2, index).reshape(images.shape)
        return out.masked_fill_(~torch.from_numpy(inside).to(images.device)[:, None], 0) if self.pad else out

    def _normalise(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.to(torch.float32).div_(255)
        if not self.mean:
            return images
        shape = (-1, 1, 1)
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device).reshape(shape)
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device).reshape(shape)
        return (images - mean) / std

    def _cut(self, images: Tensor, draws: NDArray[np.float64]) -> Tensor:
        height, width = images.shape[-2:]
        centre = np.floor(draws[:, 3:5] * (height, width)).astype(np.int64)
        first = centre - self.cutout // 2  # even sides: the square of DARTS; odd ones get their full side as well
        rows = np.arange(height)[None, :] - first[:, :1]
        columns = np.arange(width)[None, :] - first[:, 1:]
        square = ((rows >= 0) & (rows < self.cutout))[:, :, None] & ((columns >= 0) & (columns < self.cutout))[:, None]
        return images.masked_fill(torch.from_numpy(square).to(images.device)[:, None], 0)
