"""One's own images: a folder with `train/`, and `test/` or `val/` (`validation/`), each with one folder a class.

`train/` is all that a search reads; the validation part of retraining is cut from it as well. The final evaluation
reads `test/`, or `val/` or `validation/` where there is no `test/`; beside a `test/`, a `val/` is not read at all.
Classes are numbered in timm's natural order of the names (2 before 10), so that timm's own tools agree.
"""

from pathlib import Path

import numpy as np

from ...errors import SupernetError, unknown
from ..config import DataConfig
from .augment import Augment
from .registry import DATASETS, DataSet, data_root, no_kwargs, per_channel
from .sources import FileSource, ImageInfo

__all__ = ["folder"]

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IMAGE_SIZE = 64  # pixels a side where data.image_size is not set: small, because a search sees each image many times


@DATASETS.register("folder")
def folder(config: DataConfig) -> DataSet:
    """Image files of any size; data.kwargs.crop_scale=[0.08,1.0] trains on random parts resized to data.image_size."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    scale = _scale(no_kwargs("folder", config, ("crop_scale",)).get("crop_scale"))
    root = data_root("folder", config)
    size, in_chans = config.image_size or IMAGE_SIZE, config.in_chans or 3
    if in_chans not in (1, 3):
        raise SupernetError(f"data.in_chans={in_chans} must be 1 (grey) or 3 (RGB)")
    if not (root / "train").is_dir():
        raise SupernetError(f"{root / 'train'} is no folder; data.root={config.root} needs train/CLASS/IMAGE")
    names = _classes(root / "train")
    augment = Augment(pad=4, flip=True, cutout=16, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    augment = per_channel(augment, in_chans)
    info = ImageInfo(
        name="folder", num_classes=len(names), class_names=names, in_chans=in_chans, image_size=size,
        mean=augment.mean, std=augment.std,
    )  # fmt: skip
    held_out = next((root / d for d in ("test", "val", "validation") if (root / d).is_dir()), None)

    def read(split: Path, crop_scale: tuple[float, float] | None = None) -> FileSource:
        paths, targets = _scan(split, names)
        return FileSource(paths, targets, size, in_chans, crop_scale)

    opener = None if held_out is None else lambda: read(held_out)
    return DataSet(info=info, train=read(root / "train", scale), augment=augment, open_test=opener)


def _classes(split: Path) -> tuple[str, ...]:
    from timm.utils.misc import natural_key

    names = sorted((p.name for p in split.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)
    if not names:
        raise SupernetError(f"{split} has no class folders; put the images into {split / 'CLASS'}, one folder a class")
    return tuple(names)


def _scan(split: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    for name in _classes(split):
        if name not in names:
            raise SupernetError(unknown(f"class folder in {split}", name, names))
    paths: list[str] = []
    targets: list[int] = []
    for label, name in enumerate(names):
        # Sorted, because the order of a directory differs between machines and the counted draws go by number.
        found = sorted(str(p) for p in (split / name).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        if not found and split.name == "train":
            raise SupernetError(f"class folder {split / name} has no images ({_shown()}); fill it or remove it")
        paths += found
        targets += [label] * len(found)
    if not paths:
        raise SupernetError(f"{split} has no images ({_shown()}); put them into {split / 'CLASS'}")
    return tuple(paths), np.asarray(targets, dtype=np.int64)


def _shown() -> str:
    return " ".join(sorted(EXTENSIONS))


def _scale(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value):
        low, high = value
        if 0 < low <= high <= 1:
            return float(low), float(high)
    raise SupernetError(f"data.kwargs.crop_scale={value!r} must be two shares of the area, such as [0.08,1.0]")
