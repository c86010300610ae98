"""The record of each kind of data, cheap enough for every start of a command: see `digest.py`. Needs no torch.

    image folders       every path; the size of up to 20,000 files and the first bytes of 64, spread over all of them
    torchvision's sets  every file of the set, whole; archives beside their content do not count
    text, digits        the whole text, the whole table; cluttered digits are made of the same
    tables              the cells that count, and the files that they name as those of an image folder
    what else has files as an image folder, with the files that settings name beside it
    what has none       every label, and 64 samples spread over all of them, once the data are open

Times do not count, because a copy has others. Of a test split of files only names and sizes are read. A kind of data
with a better way of its own enters it into RECORDS under the name of its registration.
"""

# N samples

import gzip
import hashlib
import importlib.util
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...config import DataConfig
from ...errors import SupernetError
from ...registry import Registry
from ..embedded import embedded_text
from ..listing import list_images
from .digest import Content, Record

if TYPE_CHECKING:
    from ..sources import Source

__all__ = ["FILES", "RECORDS", "record_of_files", "record_of_samples", "root_of", "spread"]

RECORDS: Registry[Callable[[DataConfig], Record | None]] = Registry("record of data")
SPLITS = ("train", "test", "val", "validation")
MOST_SIZES, MOST_READ, FIRST = 20_000, 64, 2**16  # files whose size is asked, files that are read, bytes of each
WHOLE = 2**28  # bytes of a file that is read whole; of a larger one as many, spread over it
# Where torchvision keeps its sets below the root.
FILES: Mapping[str, tuple[str, ...]] = {
    "cifar10": ("cifar-10-batches-py",),
    "cifar100": ("cifar-100-python",),
    "fashion_mnist": ("FashionMNIST/raw",),
    "kmnist": ("KMNIST/raw",),
    "mnist": ("MNIST/raw",),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
ARCHIVES = (".gz", ".tar", ".tgz", ".zip")


def record_of_files(config: DataConfig) -> Record | None:
    """The record of the data where they lie; None where only opening them tells what they are.

    Raises SupernetError where they are not there.
    """
    if "/" in config.name:
        return RECORDS["timm"](config)
    return RECORDS[config.name](config) if config.name in RECORDS else _with_files(config)


def record_of_samples(sources: Mapping[str, "Source"]) -> Record:
    """The record of open data by split: all labels [N], and some samples as evaluation reads them."""
    return {split: _of_source(source) for split, source in sources.items()}


RECORDS.lazy("csv", "supernet.data.table.record")


@RECORDS.register("folder")
def _folder(config: DataConfig) -> Record:
    root = root_of(config)
    splits = [split for split in SPLITS if (root / split).is_dir()]
    if not splits:
        return {"images": _listed(root)}
    return {split: _listed(root / split, read=split == "train") for split in splits}


@RECORDS.register("text")
def _text(config: DataConfig) -> Record:
    if not config.root:
        text = embedded_text().encode()
        return {"text": Content(_hex(hashlib.sha256(text)), {"built in": len(text)}, "bytes")}
    path = Path(config.root).expanduser()
    if not path.is_file():
        raise SupernetError(f"data.root={config.root} is no file; give a text file in UTF-8, or leave it out")
    return {"text": _content_of([("text", path)])}


@RECORDS.register("digits")
@RECORDS.register("cluttered_digits")
def _digits(config: DataConfig) -> Record | None:
    """The table as scikit-learn brings it, unpacked here: importing scikit-learn takes a second."""
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if spec else Path()
    if not path.is_file():
        return None
    table = gzip.decompress(path.read_bytes())
    return {"digits": Content(_hex(hashlib.sha256(table)), {"digits": table.count(b"\n")})}


def _torchvision(name: str) -> Callable[[DataConfig], Record | None]:
    def record(config: DataConfig) -> Record | None:
        if config.download and not any(_paths_of(name, config)):
            return None  # opening fetches them
        root = root_of(config)
        if not (paths := _paths_of(name, config)):
            raise SupernetError(f"data.root={config.root} has no {FILES[name][0]}; try data.download=true")
        return {"files": _content_of([(str(path.relative_to(root)), path) for path in paths])}

    return record


for _name in FILES:
    RECORDS.register(_name)(_torchvision(_name))


@RECORDS.register("timm")
def _timm(config: DataConfig) -> Record | None:
    name = str(config.kwargs.get("name", "")) if config.name == "timm" else config.name
    prefix, _, rest = name.removeprefix("timm/").partition("/")
    if prefix != "torch":
        return None  # a set of a hub: its cache is not ours to know
    return RECORDS[rest](config) if rest in FILES else _with_files(config)


def _with_files(config: DataConfig) -> Record | None:
    """All images below data.root, and each file that another setting names."""
    if not config.root or (config.download and not Path(config.root).expanduser().is_dir()):
        return None
    root = root_of(config)
    settings = {field.name: getattr(config, field.name) for field in fields(config)} | config.kwargs
    named = {key: _existing(value, root) for key, value in settings.items() if key not in ("name", "root")}
    extra = {key: _content_of([(key, path)]) for key, path in named.items() if path is not None}
    return {"images": _listed(root, whole=True), **extra}


def _existing(value: object, root: Path) -> Path | None:
    """The file that a setting names, from here or below `root`; None where it names none."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    places = (Path(value).expanduser(), root / value)
    try:
        return next((path for path in places if path.is_file()), None)
    except OSError:  # too long for a path
        return None


def root_of(config: DataConfig) -> Path:
    """The folder that data.root names; raises SupernetError where there is none."""
    root = Path(config.root or "").expanduser()
    if not config.root or not root.is_dir():
        given = f"data.root={config.root} is no folder" if config.root else "data.root is not set"
        raise SupernetError(f"{given}; give data.root=PATH of the images of {config.name}")
    return root


def _paths_of(name: str, config: DataConfig) -> list[Path]:
    """The files of a set of torchvision that are there."""
    root = Path(config.root or "").expanduser()
    tops = [root / part for part in FILES[name]]
    paths = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top])]
    return sorted(path for path in paths if path.is_file() and path.suffix not in ARCHIVES)


def _listed(folder: Path, read: bool = True, whole: bool = False) -> Content:
    """All images in the folders of `folder`, `whole` in itself too; without `read` no file is opened."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    names.sort(key=lambda name: (_composed(name), name))
    paths, _ = list_images(folder, ["."] if whole else names)
    counts = dict.fromkeys(map(_readable, names), 0)  # a class without images counts too
    sized, opened = spread(len(paths), MOST_SIZES), spread(len(paths), MOST_READ) if read else frozenset()
    digest, start = hashlib.sha256(repr(list(counts)).encode()), len(os.path.join(folder, "./" if whole else ""))
    for number, path in enumerate(paths):
        name = _readable(path[start:])
        digest.update(name.encode() + b"\0")
        top = name.partition(os.sep)[0] if os.sep in name else "."
        counts[top] = counts.get(top, 0) + 1
        if number in sized:
            digest.update(f"{os.path.getsize(path)}\0".encode())
        if number in opened:
            with open(path, "rb") as file:
                digest.update(file.read(FIRST))
    return Content(_hex(digest), counts)


def _content_of(files: Iterable[tuple[str, Path]]) -> Content:
    """The bytes of files, each with the name that it counts under."""
    digest, counts = hashlib.sha256(), {}
    for name, path in files:
        counts[name] = size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        with open(path, "rb") as file:
            if size <= WHOLE:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            for place in np.linspace(0, size - FIRST, WHOLE // FIRST, dtype=np.int64).tolist():
                file.seek(place)
                digest.update(file.read(FIRST))
    return Content(_hex(digest), counts, "bytes")


def _of_source(source: "Source") -> Content:
    digest, labels = hashlib.sha256(f"{len(source)}".encode()), source.labels
    counts = {"all": len(source)}
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).tobytes())
        numbers = zip(*np.unique(labels, return_counts=True), strict=True)
        counts = {f"class {label}": int(count) for label, count in numbers}
    chosen = np.array(sorted(spread(len(source), MOST_READ)), dtype=np.int64)
    for part in source.fetch(chosen, None):
        digest.update(f"{tuple(part.shape)} {part.dtype}".encode() + part.numpy().tobytes())
    return Content(_hex(digest), counts, "samples")


def spread(count: int, most: int) -> frozenset[int]:
    """Up to `most` of the numbers below `count`, evenly spread."""
    return frozenset(np.linspace(0, count - 1, min(most, count), dtype=np.int64).tolist())


def _composed(name: str) -> str:
    """One spelling of a letter with an accent, which is one character or two on disk."""
    return unicodedata.normalize("NFC", name)


def _readable(name: str) -> str:
    """`_composed`, with a mark in place of bytes that are no text."""
    return _composed(name).encode(errors="surrogateescape").decode(errors="replace")


def _hex(digest: "hashlib._Hash") -> str:
    return digest.hexdigest()[:16]
