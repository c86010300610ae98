"""Text as windows of characters, each with the character that comes next as its target.

`data.root` is a text file in UTF-8. Without one the embedded default is read, with no download: the first 60,000
characters of a few modules of Python's own standard library, as they are installed (PSF licence,
https://docs.python.org/3/license.html). So the default is the same wherever the version of Python is the same.

The text is cut in a row: 80 % to train on, 10 % to validate on (alphas learn from it in a search), and the last 10 %
stay behind the gate of the test split. Windows do not overlap. Characters are numbered by the sorted alphabet of the
training part; the last number stands for all others.
"""
# B batch, N windows, T characters of a window

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..config import DataConfig
from ..errors import SupernetError
from .augment import Augment
from .embedded import EMBEDDED, embedded_text
from .registry import DATASETS, DataSet, no_kwargs
from .sources import Counter, ImageInfo, Indices

__all__ = ["EMBEDDED", "UNKNOWN", "TextSource", "text"]

LENGTH = 64  # characters of a window where data.kwargs.length is not set
LONGEST = 4096  # a longer window would only fill the memory
LARGEST = 2**30  # bytes of a file
UNKNOWN = "\ufffd"  # what Unicode writes for a character that is not known
OF_IMAGES = ("image_size", "in_chans", "flip", "pad", "cutout")


@dataclass(frozen=True, eq=False)
class TextSource:
    """Windows of one text: characters k*T to k*T+T-1 and, as targets, those one place on."""

    characters: NDArray[np.int32]
    length: int
    ready: bool = True  # there is nothing to augment
    in_memory: bool = True
    labels: Indices | None = None

    def __len__(self) -> int:
        return max(len(self.characters) - 1, 0) // self.length

    def fetch(self, index: Indices, at: Counter | None) -> tuple[Tensor, Tensor]:
        """Characters [B, T] and their successors [B, T], int64."""
        places = index[:, None] * self.length + np.arange(self.length + 1)
        window = torch.from_numpy(self.characters[places].astype(np.int64))
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def picture(self, index: int) -> Image.Image:
        raise SupernetError("text has no pictures; leave out recipe.auto_augment and other settings of images")

    def target(self, index: int) -> Tensor:
        """The successors [T] of one window's characters."""
        return self.fetch(np.array([index]), None)[1][0]


@DATASETS.register("text")
def text(config: DataConfig) -> DataSet:
    """The text of data.root, or the embedded default; data.kwargs.length characters make a window."""
    length = no_kwargs("text", config, ("length",)).get("length", LENGTH)
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= LONGEST:
        raise SupernetError(f"data.kwargs.length={str(length)[:40]} must be a whole number in 1..{LONGEST}")
    if settings := [f"data.{key}" for key in OF_IMAGES if getattr(config, key)]:
        raise SupernetError(f"{settings[0]} is a setting of images; data set 'text' has none: leave it out")
    train, val, _ = _parts(config, length)
    alphabet = sorted(set(train) - {UNKNOWN})
    if len(alphabet) < 2:
        raise SupernetError(f"the training part of {_place(config)} repeats one character; there is nothing to predict")
    numbers = {character: number for number, character in enumerate(alphabet)}

    def source(part: str) -> TextSource:
        codes = (numbers.get(character, len(alphabet)) for character in part)
        return TextSource(np.fromiter(codes, np.int32, len(part)), length)

    names = (*alphabet, UNKNOWN)
    info = ImageInfo(
        name="text", task="next_character", images=False, num_classes=len(names), class_names=names, in_chans=1,
        image_size=0,
    )  # fmt: skip
    return DataSet(
        info=info, train=source(train), val=source(val), augment=Augment(),
        open_test=lambda: source(_parts(config, length)[2]),
    )  # fmt: skip


def _parts(config: DataConfig, length: int) -> tuple[str, str, str]:
    """The characters of the training, the validation and the test part."""
    whole = _read(Path(config.root).expanduser()) if config.root else embedded_text()
    tenth = len(whole) // 10
    if tenth < 2 * length + 1:
        least = 10 * (2 * length + 1)
        raise SupernetError(
            f"{_place(config)} has {len(whole):,} characters; a window of {length} needs {least:,} or more: give a "
            "longer text or a smaller data.kwargs.length"
        )
    return whole[: -2 * tenth], whole[-2 * tenth : -tenth], whole[-tenth:]


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            raise SupernetError(f"data.root={path} is a folder; data set 'text' reads one text file")
        if not path.is_file():
            raise SupernetError(f"data.root={path} is no file; give a text file in UTF-8, or leave it out")
        if (size := path.stat().st_size) > LARGEST:
            raise SupernetError(f"data.root={path} has {size:,} bytes; at most {LARGEST:,} are read")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, SupernetError):
            raise
        raise SupernetError(f"data.root={str(path)[:200]!r} cannot be read: {error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SupernetError(f"data.root={path} is no text in UTF-8 (byte {error.start:,}); convert it") from None
    if "\0" in text:
        raise SupernetError(f"data.root={path} holds zero bytes: it is binary, or not in UTF-8; give a text file")
    return text


def _place(config: DataConfig) -> str:
    return f"data.root={config.root}" if config.root else "the embedded text"
