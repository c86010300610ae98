"""The table itself: a CSV file with a header, read row by row. Needs no torch.

Commas, tabs or semicolons separate the cells, whichever the header has. A byte order mark, blank lines and spaces
around cells count for nothing, and neither does a column without a name (the numbers that pandas writes). A letter
with an accent has one spelling here, though a file may have two.
"""

# N rows

import csv
import io
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ...config import DataConfig
from ...errors import SupernetError, nearest, short, unknown
from ...files import read_bytes
from ..pictures import EXTENSIONS

__all__ = ["Table", "read_table"]

LARGEST = 2**28  # bytes of a table; a million rows take some 30 million
DELIMITERS = (",", "\t", ";")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Table:
    """The cells of a table as text, by row; `lines` [N] says in which line of the file each row is."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """The cells [N] of a column."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def require(self, name: str, setting: str) -> str:
        """`name`; raises SupernetError where no column is called that."""
        if name not in self.header:
            raise SupernetError(unknown(f"column of {self.path} in {setting}", name, self.header))
        return name

    def at(self, row: int) -> str:
        """Where row number `row` stands, for a message."""
        return f"{self.path}, line {self.lines[row]}"


def read_table(config: DataConfig) -> Table:
    """The table that data.labels names, from here or below data.root; raises SupernetError for anything else."""
    path = _path(config)
    try:
        text = read_bytes(path, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SupernetError(f"{path} is no text in UTF-8 (byte {error.start:,}); save it as CSV in UTF-8") from None
    except OSError as error:
        raise SupernetError(f"{path} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise SupernetError(f"{path} is empty; it needs a header, such as image,label, and a row for each picture")
    rows, lines = _cells(path, text)
    header, below = rows[0], rows[1:]
    _check_header(path, header)
    _check_rows(path, header, below, lines[1:])
    named = [place for place, name in enumerate(header) if name]
    chosen = [tuple(row[place] for place in named) for row in rows]
    return Table(path, chosen[0], tuple(chosen[1:]), tuple(lines[1:]))


def _path(config: DataConfig) -> Path:
    if not config.labels:
        raise SupernetError("data.labels is not set; data=csv needs data.labels=FILE, a table of pictures and labels")
    places = [Path(config.labels).expanduser()]
    if config.root:
        places.append(Path(config.root).expanduser() / config.labels)
    names: list[str] = []
    try:
        for place in places:
            if place.exists() and not place.is_dir():
                return place
            names += os.listdir(place.parent) if place.parent.is_dir() else []
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        pass
    close = nearest(places[0].name, (name for name in names if name.endswith((".csv", ".tsv", ".txt"))))
    hint = f"; did you mean {close!r}?" if close else "; give the path of a CSV file"
    raise SupernetError(f"data.labels={short(config.labels, 200)} is no file{hint}")


def _cells(path: Path, text: str) -> tuple[list[tuple[str, ...]], list[int]]:
    """The rows of cells, the header first, and in which line each of them ends."""
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if _CONTROL.search("".join(cells)):  # no file of results could hold such a name
                raise SupernetError(f"{path}, line {reader.line_num}, has a control character in a cell; remove it")
            rows.append(tuple(unicodedata.normalize("NFC", cell.strip()) for cell in cells))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise SupernetError(f"{path}, line {reader.line_num}, is no row of a CSV file: {error}") from None
    if not rows:
        raise SupernetError(f"{path} has separators and no cells; it needs a header, such as image,label")
    return rows, lines


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    if any(os.path.splitext(cell)[1].lower() in EXTENSIONS for cell in header):
        raise SupernetError(
            f"{path} has no header: its first line, {short(','.join(header))!r}, names a picture; begin it with a line "
            "such as image,label"
        )
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise SupernetError(f"{path} has the column {short(twice)!r} twice; rename one")


def _check_rows(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]], lines: list[int]) -> None:
    if not rows:
        raise SupernetError(f"{path} has a header and no rows; add one for each picture")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise SupernetError(
                f"{path}, line {line}, has {len(row)} cells and the header {len(header)} "
                f"({short(', '.join(header))}); put a cell that holds the separator into quotes"
            )
