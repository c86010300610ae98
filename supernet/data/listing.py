"""The files of an image folder as one compact table: a million paths take their own bytes and 8 more each.

A path as a Python string costs some 130 bytes and is copied, object by object, into every forked worker by its
reference count. Here all paths lie in one block of bytes with one offset each, which forked workers share. While a
folder is listed, the names of one directory at a time exist as strings as well, because they are sorted there.
"""

# N paths

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .pictures import EXTENSIONS

__all__ = ["Paths", "list_images"]

NOTES = ("thumbs.db", "desktop.ini")  # that file managers leave in folders


class Paths(Sequence[str]):
    """N paths below one root, read like a tuple of strings; made by `list_images`.

    Names that are no UTF-8 are kept byte for byte (`os.fsdecode`).
    """

    def __init__(self, root: str | os.PathLike[str], names: bytearray, ends: NDArray[np.int64]) -> None:
        """`names` are the paths below `root` without a separator between them, `ends` [N] where each one ends."""
        self.root = os.fspath(root)
        self._names, self._ends = names, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[str, ...]: ...
    def __getitem__(self, i: int | slice) -> str | tuple[str, ...]:
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        if not -len(self) <= i < len(self):
            raise IndexError(f"path {i} of {len(self)}")
        i %= len(self)
        start = int(self._ends[i - 1]) if i else 0
        return os.path.join(self.root, os.fsdecode(bytes(self._names[start : int(self._ends[i])])))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, which hash otherwise

    @property
    def nbytes(self) -> int:
        """Bytes that the table holds."""
        return len(self._names) + self._ends.nbytes


def list_images(
    root: Path, folders: Sequence[str], left_out: Counter[str] | None = None
) -> tuple[Paths, NDArray[np.int64]]:
    """All image files (by `EXTENSIONS`) below `root/FOLDER` for each of `folders`, and how many each folder has.

    `left_out` counts the other files by their suffix; hidden ones and folders' own notes (Thumbs.db) do not count.

    Within a folder the order is that of the sorted paths, on every machine. Links to files are followed, links to
    folders below FOLDER are not: they could lead in a circle. A FOLDER that does not exist has no files.
    """
    names, ends = bytearray(), array("q")
    counts = np.zeros(len(folders), dtype=np.int64)
    for k, folder in enumerate(folders):
        if not (root / folder).is_dir():
            continue
        for path in _walk(os.path.join(root, folder), folder, Counter() if left_out is None else left_out):
            names += os.fsencode(path)
            ends.append(len(names))
            counts[k] += 1
    return Paths(root, names, np.frombuffer(ends, dtype=np.int64)), counts


def _walk(folder: str, below: str, left_out: Counter[str]) -> Iterator[str]:
    """The image files of `folder`, named from `below` on, in the order of the sorted paths."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name + os.sep)  # sorted with the separator, "a-b/x" comes before "a/x", as in paths
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and entry.is_file():
                names.append(entry.name)
            elif not entry.name.startswith(".") and entry.name.lower() not in NOTES and entry.is_file():
                left_out[os.path.splitext(entry.name)[1].lower() or "without a suffix"] += 1
    names.sort(reverse=True)
    while names:  # popped, so that what is in the table already is not held twice
        name = names.pop()
        if name.endswith(os.sep):
            yield from _walk(os.path.join(folder, name), os.path.join(below, name[:-1]), left_out)
        else:
            yield os.path.join(below, name)
