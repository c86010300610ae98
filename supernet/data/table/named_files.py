"""The files that a column names: below data.root, there, and each of them once. Needs no torch."""

# N rows

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ...errors import SupernetError, nearest, short
from .rows import Table

__all__ = ["files_of"]


def files_of(table: Table, column: str, root: Path, *, once: bool) -> list[str]:
    """The paths [N] below `root` that a column names; with `once` each of them a single time.

    Raises SupernetError that names the first row which is wrong, and says how many others are.
    """
    names = [_below(table, row, cell, root) for row, cell in enumerate(table.column(column))]
    if once:
        _refuse_doubles(table, names)
    paths = [next(filter(os.path.isfile, _spellings(root, name)), "") for name in names]
    if missing := [row for row, path in enumerate(paths) if not path]:
        row = missing[0]
        more = f" (and {len(missing) - 1:,} more of {len(names):,})" if len(missing) > 1 else ""
        raise SupernetError(
            f"{table.at(row)}: {short(names[row], 120)!r} is no file below data.root={root}{more}"
            f"{_hint(root, names[row])}"
        )
    return paths


def _spellings(root: Path, name: str) -> Iterator[str]:
    """The paths that a name may stand for: some systems write accents apart, and some backslashes between folders."""
    yield os.path.join(root, name)
    yield os.path.join(root, unicodedata.normalize("NFD", name))
    if "\\" in name:
        yield os.path.join(root, name.replace("\\", os.sep))


def _below(table: Table, row: int, cell: str, root: Path) -> str:
    """The name as a path below the root, in one spelling; it may be written with the root before it."""
    if not cell:
        raise SupernetError(f"{table.at(row)}, names no file; fill the cell or remove the row")
    name = os.path.normpath(cell)
    if os.path.isabs(name):
        name = os.path.relpath(name, os.path.abspath(root))
    if name.split(os.sep)[0] == os.pardir:
        raise SupernetError(
            f"{table.at(row)}: {short(cell, 120)!r} lies outside data.root={root}; name the folder above all files"
        )
    return name


def _refuse_doubles(table: Table, names: list[str]) -> None:
    first: dict[str, int] = {}
    doubled = [row for row, name in enumerate(names) if first.setdefault(name, row) != row]
    if doubled:
        row = doubled[0]
        more = f", and {len(doubled) - 1:,} other rows are doubled" if len(doubled) > 1 else ""
        raise SupernetError(
            f"{table.at(row)}, names {short(names[row], 120)!r} again, which line {table.lines[first[names[row]]]} "
            f"has{more}; one row a picture: several labels stand in one cell, with ; between them"
        )


def _hint(root: Path, name: str) -> str:
    """Where a file of nearly that name is: without its suffix, or spelt otherwise."""
    folder = os.path.dirname(os.path.join(root, name))
    try:
        there = sorted(os.listdir(folder))
    except OSError:
        return f"; there is no folder {folder}"
    base = os.path.basename(name)
    close = next((file for file in there if os.path.splitext(file)[0] == base), None) or nearest(base, there)
    return f"; did you mean {close!r}?" if close else "; mend the name or remove the row"
