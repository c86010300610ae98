"""One's own images: a folder with `train/`, and `test/` or `val/` (`validation/`), each with one folder a class.

Weights learn from `train/`. Where there is a `val/` or `validation/`, alphas learn from it and retraining selects by
it; else their part is cut from `train/`. The final evaluation reads `test/`, and without one nothing is tested.
Classes are numbered in the sorted order of their names (10 before 2), as torchvision's ImageFolder does.

What is odd, and what becomes of it:

    grey, RGBA, CMYK, palette, 16 bits   converted to RGB (data.in_chans=1: to grey), as pictures.py says
    files that are no pictures           left out; one warning counts them
    1x1 and any other size               resized; small ones are enlarged
    names in any script                  kept; é as one letter or as e and an accent names one class
    a class without files in test/       allowed with a warning: it is not measured
    a class of test/ that train/ lacks   refused before training; only the names of its folders are read for that
    a class without files in train/      refused before training
    a single class                       refused before training: there is nothing to tell apart
    an empty or truncated file           refused before training (verify.py says what is looked at, and for how long)
"""

import logging
import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import SupernetError, unknown
from .augment import Augment
from .listing import Paths, list_images
from .pictures import EXTENSIONS
from .registry import DATASETS, DataSet, data_root, no_kwargs, per_channel
from .sources import FileSource, ImageInfo, Indices
from .standard import standard
from .verify import check_files

__all__ = ["IMAGE_SIZE", "crop_scale_of", "folder"]

_log = logging.getLogger(__name__)
IMAGE_SIZE = 64  # pixels a side where data.image_size is not set: small, because a search sees each image many times


@DATASETS.register("folder")
def folder(config: DataConfig) -> DataSet:
    """Image files of any size; data.kwargs.crop_scale=[0.08,1.0] trains on random parts resized to data.image_size."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    scale = crop_scale_of(no_kwargs("folder", config, ("crop_scale",)).get("crop_scale"))
    root = data_root("folder", config)
    size, in_chans = config.image_size or IMAGE_SIZE, config.in_chans or 3
    if in_chans not in (1, 3):
        raise SupernetError(f"data.in_chans={in_chans} must be 1 (grey) or 3 (RGB)")
    if not (root / "train").is_dir():
        raise SupernetError(f"{root / 'train'} is no folder; data.root={config.root} needs train/CLASS/IMAGE")
    names = tuple(_classes(root / "train"))
    augment = Augment(**standard("folder"), mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    augment = per_channel(augment, in_chans)
    info = ImageInfo(
        name="folder", num_classes=len(names), class_names=names, in_chans=in_chans, image_size=size,
        mean=augment.mean, std=augment.std,
    )  # fmt: skip
    held_out = root / "test" if (root / "test").is_dir() else None
    chosen_by = next((root / d for d in ("val", "validation") if (root / d).is_dir()), None)
    if held_out is None and chosen_by is not None:
        _log.warning(
            "%s has no test/: %s/ is the validation part, and nothing is tested at the end", root, chosen_by.name
        )

    def read(split: Path, crop_scale: tuple[float, float] | None = None) -> FileSource:
        paths, targets = _scan(split, names)
        return FileSource(paths, targets, size, in_chans, crop_scale)

    train = read(root / "train", scale)

    def check() -> None:
        if len(names) < 2:
            raise SupernetError(f"{root / 'train'} has the one class {names[0]!r}; telling apart needs 2 or more")
        for split in (chosen_by, held_out):
            if split is not None:
                _compare(split, names)
        check_files(train.paths)

    opener = None if held_out is None else lambda: read(held_out)
    val = None if chosen_by is None else read(chosen_by)
    return DataSet(info=info, train=train, val=val, augment=augment, open_test=opener, check=check)


def _classes(split: Path) -> dict[str, str]:
    """Names of the classes in their order, and of the folder of each: e with an accent is one letter or two on disk."""
    with os.scandir(split) as entries:
        folders = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise SupernetError(f"{split} has no class folders; put the images into {split / 'CLASS'}, one folder a class")
    spellings: dict[str, str] = {}
    for name in sorted(folders, key=lambda folder: (_composed(folder), folder)):
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):  # no file of results could hold the second
            raise SupernetError(f"class folder {name!a} in {split} has control characters or no UTF-8; rename it")
        if spellings.setdefault(_composed(name), name) != name:
            raise SupernetError(f"{split} has the class {name!r} twice, spelt with other bytes; join the two folders")
    return spellings


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _compare(split: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The class folders of `split`; refuses classes that training does not have."""
    folders = _classes(split)
    for name in folders:
        if name not in names:
            raise SupernetError(unknown(f"class folder in {split}", name, names))
    if missing := [name for name in names if name not in folders]:
        _log.warning("%s lacks %d of %d classes (%s ...); they are not measured",
                     split, len(missing), len(names), missing[0])  # fmt: skip
    return folders


def _scan(split: Path, names: tuple[str, ...]) -> tuple[Paths, Indices]:
    folders = _compare(split, names)
    left_out: Counter[str] = Counter()
    paths, counts = list_images(split, [folders.get(name, name) for name in names], left_out)
    if left_out:
        suffixes = ", ".join(f"{count} {suffix}" for suffix, count in left_out.most_common(6))
        _log.warning("%s: %d files are no pictures that are read, and left out: %s", split, left_out.total(), suffixes)
    _warn_of_nesting(split, folders)
    if split.name == "train" and not counts.all():
        empty = split / folders[names[int(counts.argmin())]]
        raise SupernetError(f"class folder {empty} has no images ({_shown()}); fill it or remove it")
    if not len(paths):
        raise SupernetError(f"{split} has no images ({_shown()}); put them into {split / 'CLASS'}")
    return paths, np.repeat(np.arange(len(names), dtype=np.int64), counts)


def _warn_of_nesting(split: Path, folders: dict[str, str]) -> None:
    """Folders in a class folder belong to its class: where there are only such, classes may be one folder down."""
    for folder in folders.values():
        with os.scandir(split / folder) as entries:
            kinds = [entry.is_dir() for entry in entries if not entry.name.startswith(".")]
        if len(kinds) > 1 and all(kinds):
            _log.warning(
                "class folder %s holds %d folders and no pictures: all below it is the one class %r; where its folders "
                "are the classes, name the folder above them as data.root", split / folder, len(kinds), folder
            )  # fmt: skip
            return


def _shown() -> str:
    return " ".join(sorted(EXTENSIONS))


def crop_scale_of(value: object) -> tuple[float, float] | None:
    """The two shares of the area in data.kwargs.crop_scale, in (0, 1]; raises SupernetError for anything else."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value):
        low, high = value
        if 0 < low <= high <= 1:
            return float(low), float(high)
    raise SupernetError(f"data.kwargs.crop_scale={value!r} must be two shares of the area, such as [0.08,1.0]")
