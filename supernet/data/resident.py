"""Data on the device: a split of images in memory is moved there once, and batches are gathered there by number.

The draws of an epoch are counted on the host at its start, as for data that are not resident, and go to the device in
one piece; what they come to for each image is computed there. After that nothing crosses until the next epoch, and the
batches have the bits that they have from the host (on one device).
"""

# N samples, B batch, C channels, H height, W width

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import SupernetError, unknown
from .augment import Augment
from .sources import Counter, Indices, Source, TensorSource
from .view import View

__all__ = ["SHARE", "Resident", "Residents", "to_device"]

log = logging.getLogger(__name__)

SHARE = 0.25  # of the device's free memory that resident data may take where nobody asked for them


class Resident:
    """The samples of one source on one device: images [N, C, H, W] or any inputs [N, ...], and targets [N, ...]."""

    def __init__(self, source: TensorSource, device: torch.device) -> None:
        self.device = device
        self.images, self.targets = source.images.to(device), source.targets.to(device)

    def batches(
        self, parts: Sequence[Indices], augment: Augment, at: Counter | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images [B, C, H, W], targets [B, ...] and, on the host, the numbers [B] of each part, in order.

        `at` None reads for evaluation.
        """
        if not parts:
            return
        order = np.concatenate(list(parts))
        numbers, scale, plan = torch.from_numpy(order), augment.scale(self.images), None
        index = to_device(numbers, self.device)
        if at is not None and augment.distorts:
            draws = to_device(torch.from_numpy(augment.draws(*at, order)), self.device)
            plan = augment.plan(draws, *self.images.shape[-2:])
            augment = augment.fitted(min(self.images.shape[-2:]))
        start = 0
        for part in parts:
            stop = start + len(part)
            chosen = index[start:stop]
            of_part = plan and plan.part(start, stop)
            images = augment.finish(self.images[chosen], of_part, scale)
            yield images, augment.finish_targets(self.targets[chosen], of_part), numbers[start:stop]
            start = stop


class Residents:
    """Which sources of a run are on its device: each once, however many loaders read it.

    `setting` is data.resident: "auto" (on a GPU, where the data take at most `SHARE` of its free memory), "on", "off".
    """

    def __init__(self, device: torch.device | str, setting: str = "auto") -> None:
        if setting not in ("auto", "on", "off"):
            raise SupernetError(unknown("setting data.resident", setting, ["auto", "on", "off"]))
        self.device, self.setting = torch.device(device), setting
        self._found: list[tuple[Source, Resident | None]] = []

    def of(self, view: View) -> Resident | None:
        """The source of `view` on the device; None where it stays where it is.

        Raises SupernetError where the setting is "on" and the source is none that can be moved.
        """
        for source, resident in self._found:
            if source is view.source:
                return resident
        self._found.append((view.source, self._moved(view.source)))
        return self._found[-1][1]

    def _moved(self, source: Source) -> Resident | None:
        # By exact type: a subclass may read in a way of its own.
        movable = type(source) is TensorSource and not source.ready
        if self.setting == "on" and not movable:
            raise SupernetError("data.resident=on needs data in memory that no transform of their own reads; "
                                "data.resident=auto reads these from the host")  # fmt: skip
        if not isinstance(source, TensorSource) or not movable or self.setting == "off":
            return None
        if self.setting == "auto":
            if self.device.type != "cuda":
                return None
            size, free = source.images.nbytes + source.targets.nbytes, torch.cuda.mem_get_info(self.device)[0]
            if size > SHARE * free:
                log.info("data.resident=auto leaves the data on the host: %.1f GB of %.1f GB free on %s",
                         size / 1e9, free / 1e9, self.device)  # fmt: skip
                return None
        log.info("the data are on %s", self.device)
        return Resident(source, self.device)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor`, of any shape, on the device; to a GPU from pinned memory, so that the host goes on meanwhile."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
