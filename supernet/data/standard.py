"""The augmentation that each data set has where the settings name none, in one table; read without torch."""

from typing import TypedDict

__all__ = ["BY_TASK", "STANDARD", "Distortion", "entry_of", "standard"]


class Distortion(TypedDict):
    """The settings data.flip, data.pad and data.cutout; a side in pixels, before it is fitted to small images."""

    flip: bool | None  # None: colour pictures are mirrored, grey ones are not
    pad: int
    cutout: int


# Digits have a left and a right. Whether pictures of the user's own have one, only the user knows.
STANDARD: dict[str, Distortion] = {
    "cifar10": {"flip": True, "pad": 4, "cutout": 16},
    "cifar100": {"flip": True, "pad": 4, "cutout": 16},
    "cluttered_digits": {"flip": False, "pad": 1, "cutout": 0},
    "digits": {"flip": False, "pad": 1, "cutout": 2},
    "fashion_mnist": {"flip": True, "pad": 4, "cutout": 0},
    "folder": {"flip": True, "pad": 4, "cutout": 16},
    "mnist": {"flip": False, "pad": 4, "cutout": 0},
    "svhn": {"flip": False, "pad": 4, "cutout": 0},
    "timm": {"flip": None, "pad": 4, "cutout": 0},
}


# By task: a picture that is mirrored or moved keeps its labels, and its mask goes with it; of a number nobody knows.
BY_TASK: dict[str, dict[str, Distortion]] = {
    "csv": {
        "classification": {"flip": True, "pad": 4, "cutout": 16},
        "multi_label": {"flip": True, "pad": 4, "cutout": 16},
        "segmentation": {"flip": True, "pad": 4, "cutout": 0},
        "regression": {"flip": False, "pad": 0, "cutout": 0},
    },
}


class _Values(TypedDict):
    flip: bool
    pad: int
    cutout: int


def entry_of(name: str) -> str:
    """The entry of the registry that reads the data set `name`: one with a slash is timm's."""
    return "timm" if "/" in name else name


def standard(name: str, in_chans: int = 3) -> _Values:
    """That of a data set in the table, for pictures with this many channels."""
    row = STANDARD[name]
    flip = in_chans == 3 if row["flip"] is None else row["flip"]
    return {"flip": flip, "pad": row["pad"], "cutout": row["cutout"]}
