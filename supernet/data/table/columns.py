"""What the columns of a table are: names of pictures, what is to be predicted, the split. Needs no torch.

name      data.kwargs.name, else one called image, filename, ... (NAMES), else the first
split     data.kwargs.split, else one called split: train, val or test in each row
mask      data.kwargs.mask, else one called mask
targets   data.kwargs.target, one name or a list; else one called label, class, ... (TARGETS); else all others
"""

# N rows

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import SupernetError, short, unknown
from .rows import Table

__all__ = ["SETTINGS", "Columns", "columns_of", "parts_of"]

SETTINGS = ("name", "target", "split", "mask", "separator", "classes", "crop_scale")  # of data.kwargs
NAMES = ("image", "filename", "file_name", "file", "name", "path", "picture", "img", "image_id", "id")
TARGETS = ("label", "labels", "class", "target", "targets", "category", "tags", "y")
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The names of the columns."""

    name: str
    targets: tuple[str, ...]
    split: str | None
    mask: str | None


def columns_of(table: Table, settings: Mapping[str, object]) -> Columns:
    """The columns of `table`, under the `settings` of data.kwargs; raises SupernetError for one that is not there."""
    name = _one(table, settings, "name", NAMES) or table.header[0]
    split = _one(table, settings, "split", ("split",))
    mask = _one(table, settings, "mask", ("mask", "masks"))
    if (given := settings.get("target")) is not None:
        listed = given if isinstance(given, list | tuple) else [given]
        targets = tuple(table.require(str(one), "data.kwargs.target") for one in listed)
    else:
        left = [column for column in table.header if column not in (name, split, mask)]
        known = [column for column in left if column.lower() in TARGETS]
        targets = tuple(known if len(known) == 1 else left)
    if strange := [column for column in targets if column in (name, split)]:
        raise SupernetError(f"the column {strange[0]!r} of {table.path} holds names or splits; it is no target")
    if not targets and mask is None:
        raise SupernetError(
            f"{table.path} has no column beside {short(', '.join(table.header))} to learn from; add one, such as label"
        )
    return Columns(name, targets, split, mask)


def _one(table: Table, settings: Mapping[str, object], key: str, usual: Sequence[str]) -> str | None:
    if (given := settings.get(key)) is not None:
        return table.require(str(given), f"data.kwargs.{key}")
    spelt = {column.lower(): column for column in reversed(table.header)}
    return next((spelt[name] for name in usual if name in spelt), None)


def parts_of(table: Table, split: str | None) -> dict[str, NDArray[np.int64]]:
    """The numbers of the rows of train, val and test, each sorted; without a column all rows are of train.

    A part without rows is not there. Raises SupernetError for another word, and where nothing is left to train on.
    """
    if split is None:
        return {"train": np.arange(len(table.rows), dtype=np.int64)}
    rows: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for row, cell in enumerate(table.column(split)):
        if cell.lower() not in SPLITS:
            raise SupernetError(f"{table.at(row)}: {unknown(f'split in the column {split!r}', cell, set(SPLITS))}")
        rows[SPLITS[cell.lower()]].append(row)
    if not rows["train"]:
        raise SupernetError(f"{table.path} has no row with train in its column {split!r}: nothing to learn from")
    return {part: np.asarray(numbers, dtype=np.int64) for part, numbers in rows.items() if numbers}
