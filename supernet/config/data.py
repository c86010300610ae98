"""Settings of the data."""

from dataclasses import dataclass, field
from typing import Any

from .checks import require

__all__ = ["DataConfig"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and its counted augmentation; None takes the default of the data set's entry."""

    name: str = "digits"  # a registered data set, or one of timm's with a slash (torch/cifar10)
    root: str | None = None  # the folder of the data
    labels: str | None = field(default=None, metadata={"since": 3})  # the CSV file of data=csv: pictures and labels
    download: bool = False  # fetch what is missing
    image_size: int | None = None  # pixels a side, after resizing
    in_chans: int | None = None  # 1 grey or 3 RGB
    flip: bool | None = None  # mirror left-right with probability .5
    pad: int | None = None  # pixels of zero padding before the random crop
    cutout: int | None = None  # side of the square set to zero, in pixels, before it is fitted to small images
    workers: int = 0  # processes that read images; 0 reads in the main one
    resident: str = "auto"  # images in memory are moved to the device: auto (a GPU with room for them), on, off
    limit: int | None = None  # use only the first N training samples of the counted permutation
    kwargs: dict[str, Any] = field(default_factory=dict)  # passed to timm.data.create_dataset

    def __post_init__(self) -> None:
        require(self.workers >= 0, f"data.workers={self.workers} must be 0 or more")
        require(self.resident in ("auto", "on", "off"), f"data.resident={self.resident!r} must be auto, on or off")
        for key in ("image_size", "in_chans", "limit"):
            value = getattr(self, key)
            require(value is None or value >= 1, f"data.{key}={value} must be 1 or more")
        for key in ("pad", "cutout"):
            value = getattr(self, key)
            require(value is None or value >= 0, f"data.{key}={value} must be 0 or more")
