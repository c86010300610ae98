"""How image folders were read before runs kept a record of their data, where that was otherwise than now.

    classes                  numbered with 2 before 10; now as torchvision does, 10 before 2
    six suffixes of names    left out; now read
    val/ or validation/      the final evaluation where there was no test/, else not read; now alphas learn from it, and
                             a retraining selects by it
    16 bits, floats, EXIF    clipped, and not turned; now scaled and turned

A run that was begun then cannot go on: it would train on with exchanged labels, or on other samples.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ..listing import list_images
from ..pictures import differs_from_timm

__all__ = ["reads_otherwise_now"]

LATER = (".avif", ".jfif", ".jp2", ".jpe", ".pbm", ".tga")  # suffixes of pictures that were not read
MOST_OPENED = 64  # pictures that are looked into, spread over all of them


def reads_otherwise_now(data: DataConfig) -> list[str]:
    """What is otherwise, each in a few words; empty for data that are read as they were. Needs no torch."""
    root = Path(data.root or "").expanduser()
    train = root / "train"
    if data.name != "folder" or not data.root or not train.is_dir():
        return []
    names = sorted(path.name for path in train.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths = list_images(train, names)[0]
    chosen_by = next((part for part in ("val", "validation") if (root / part).is_dir()), None)
    texts = [
        _numbers(names),
        _suffixes(paths),
        f"{root / chosen_by} was no part of the training, and is its validation part now" if chosen_by else "",
        _contents(paths),
    ]
    return [text for text in texts if text]


def _numbers(names: list[str]) -> str:
    former = sorted(names, key=_natural)
    if former == names:
        return ""
    return f"it numbered the classes {', '.join(former[:4])} ... in that order, and they are {', '.join(names[:4])} now"


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """The key by which 2 comes before 10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _suffixes(paths: Sequence[str]) -> str:
    there = [suffix for path in paths if (suffix := os.path.splitext(path)[1].lower()) in LATER]
    return f"it left out {len(there)} pictures ({', '.join(sorted(set(there)))}) that are read now" if there else ""


def _contents(paths: Sequence[str]) -> str:
    some = np.linspace(0, len(paths) - 1, min(MOST_OPENED, len(paths)), dtype=np.int64).tolist()
    first = next((path for path in (paths[number] for number in some) if differs_from_timm(path)), None)
    return f"it clipped pictures such as {first}, or did not turn them, and they are read right now" if first else ""
