"""Crop, flip and cutout of whole batches, from draws that were counted on the CPU, applied on any device.

The order is the one of DARTS (arXiv:1806.09055, its public code): zero padding of the raw image and a random crop, a
mirror, normalisation, then cutout (DeVries and Taylor, arXiv:1708.04552), whose square is 0 after normalisation.
"""

# B batch, C channels, H height, W width, D draws

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..counter import uniform
from ..errors import SupernetError

__all__ = ["IGNORE", "Augment", "Plan"]

IGNORE = 255  # in a mask, the pixels that count nowhere: also what a crop adds beyond the picture

_DRAWS = 5  # crop row, crop column, flip, cutout row, cutout column; always all, so that no setting shifts another


class Plan(NamedTuple):
    """What draws come to for images of one size, on their device; row i of each belongs to image i."""

    rows: Tensor  # int64 [B, H], W times the row that each row is taken from
    columns: Tensor  # int64 [B, W], the same for columns, once
    beyond_rows: Tensor  # bool [B, H], rows that lie outside the image, and so in its padding
    beyond_columns: Tensor  # bool [B, W]
    cut_rows: Tensor  # bool [B, H], rows that the cut-out square crosses
    cut_columns: Tensor  # bool [B, W]

    def part(self, start: int, stop: int) -> Self:
        """The same for images `start` to `stop`, without a copy."""
        return type(self)(*(t[start:stop] for t in self))


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to a batch of images after loading; the defaults do nothing but scale uint8 to [0, 1].

    `pad` and `cutout` are pixels. Both shrink to fit small images: pad to at most an eighth and cutout to at most a
    half of the shorter side, so that 8x8 digits keep 1 and 4. `mean` and `std` are per channel, for values in [0, 1];
    empty ones leave the values alone. `masks` says that targets are masks [B, H, W], which are moved and mirrored as
    their images are.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    masks: bool = field(default=False, repr=False)  # not of an augmentation's name, which runs of before are known by

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or any(not s > 0 for s in self.std):
            raise SupernetError(f"std={self.std} must have one value above 0 for each of the {len(self.mean)} means")

    def fitted(self, side: int) -> "Augment":
        """The same with pad and cutout as an image with this shorter side, in pixels, takes them."""
        return replace(self, pad=min(self.pad, side // 8), cutout=min(self.cutout, side // 2))

    def words(self, side: int) -> str:
        """What training does to an image with this shorter side, in pixels, in a few words."""
        fitted = self.fitted(side)
        texts = [
            "mirrored left-right" if fitted.flip else "",
            f"moved by up to {fitted.pad} pixels" if fitted.pad else "",
            f"a square of {fitted.cutout} pixels cut out" if fitted.cutout else "",
        ]
        with_masks = " (masks too)" if self.masks and (fitted.flip or fitted.pad) else ""
        return (", ".join(filter(None, texts)) or "none") + with_masks

    def draws(self, seed: int, stream: str, epoch: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Numbers in [0, 1), shape [B, D], one row for each sample index; they depend on nothing but the arguments."""
        return uniform(seed, stream, epoch, index, _DRAWS)

    @property
    def distorts(self) -> bool:
        """Whether draws change anything."""
        return bool(self.pad or self.flip or self.cutout)

    def plan(self, draws: Tensor, height: int, width: int) -> Plan:
        """What draws [B, D] do to images of this size; computed on the device where the draws are."""
        fitted, device = self.fitted(min(height, width)), draws.device
        shift = (draws[:, :2] * (2 * fitted.pad + 1)).floor().long() - fitted.pad  # [B, 2]
        down, across = torch.arange(height, device=device), torch.arange(width, device=device)
        rows = down + shift[:, :1]  # [B, H]
        columns = across.expand(len(draws), width)
        if fitted.flip:
            columns = torch.where(draws[:, 2:3] < 0.5, across.flip(0), across)
        columns = columns + shift[:, 1:2]  # [B, W]
        # Even sides: the square of DARTS; odd ones get their full side as well.
        down = down - (draws[:, 3:4] * height).floor().long() + fitted.cutout // 2
        across = across - (draws[:, 4:5] * width).floor().long() + fitted.cutout // 2
        return Plan(
            rows.clamp(0, height - 1) * width,
            columns.clamp(0, width - 1),
            (rows < 0) | (rows >= height),
            (columns < 0) | (columns >= width),
            (down >= 0) & (down < fitted.cutout),
            (across >= 0) & (across < fitted.cutout),
        )

    def scale(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """(mean, deviation) of each channel, [C, 1, 1], as these images need them; None where they stay as they are."""
        if not self.mean:
            return None
        kind = torch.float32 if images.dtype == torch.uint8 else images.dtype
        # Filled where they are needed: a tensor made of numbers on the host would have to be waited for.
        mean, std = (
            torch.cat([images.new_full((1, 1, 1), value, dtype=kind) for value in values])
            for values in (self.mean, self.std)
        )
        return mean, std

    def apply(self, images: Tensor, draws: NDArray[np.float64] | Tensor | None = None) -> Tensor:
        """Images [B, C, H, W] with these draws [B, D]; None is evaluation, which only normalises.

        uint8 becomes float32 in [0, 1] before normalisation; other types are kept, and so are inputs that are no images
        as long as nothing but scaling is asked for.
        """
        if draws is None or not self.distorts:
            return self.finish(images, None, self.scale(images))
        draws = draws if isinstance(draws, Tensor) else torch.from_numpy(draws)
        plan = self.plan(draws.to(images.device), *images.shape[-2:])
        return self.finish(images, plan, self.scale(images))

    def finish(self, images: Tensor, plan: Plan | None, scale: tuple[Tensor, Tensor] | None) -> Tensor:
        """Images [B, C, H, W], distorted by what `plan` gave and normalised by what `scale` gave, as `apply` does.

        Both may be made at once for many batches; nothing waits. A `plan` of None does not distort.
        """
        if plan is not None and (self.pad or self.flip):
            images = self._crop(images, plan)
        if images.dtype == torch.uint8:
            images = images.to(torch.float32).div_(255)
        if scale is not None:
            images = (images - scale[0]) / scale[1]
        if plan is None or not self.cutout:
            return images
        return images.masked_fill((plan.cut_rows[:, :, None] & plan.cut_columns[:, None])[:, None], 0)

    def apply_to_targets(self, targets: Tensor, draws: Tensor) -> Tensor:
        """Targets [B, ...] after these draws [B, D]: masks [B, H, W] go with their images, all others stay."""
        if not self.masks or not self.distorts:
            return targets
        return self.finish_targets(targets, self.plan(draws.to(targets.device), *targets.shape[-2:]))

    def finish_targets(self, targets: Tensor, plan: Plan | None) -> Tensor:
        """Targets [B, ...], distorted by what `plan` gave; what comes from beyond a mask is IGNORE."""
        if not self.masks or plan is None or not (self.pad or self.flip):
            return targets
        return self._crop(targets[:, None], plan, IGNORE)[:, 0]

    def _crop(self, images: Tensor, plan: Plan, beyond: int = 0) -> Tensor:
        flat = (plan.rows[:, :, None] + plan.columns[:, None]).flatten(1)[:, None]  # [B, 1, H W]
        out = images.flatten(2).gather(2, flat.expand(-1, images.shape[1], -1)).reshape(images.shape)
        if not self.pad:
            return out
        return out.masked_fill_((plan.beyond_rows[:, :, None] | plan.beyond_columns[:, None])[:, None], beyond)
