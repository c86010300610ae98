"""Where the rows of a decision tree go: chips beside their label, lines that wrap, columns like a newspaper's.

All in inches, y downwards from the top of a column. Blocks, a root decision with all below it, stay together where they
fit into a column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..shapes import text_width
from .rows import Row

__all__ = ["Chip", "Line", "Sheet", "arrange"]

CHIP, GAP = 0.21, 0.06  # height of a chip, room between two
LINE, WRAP = 0.31, 0.25  # from a row to the next one, from line to line inside a row
WIDEST = 5.4  # of the chips of one line
TEXT = 8.0  # points
INDENT = 0.24
MOST_OPTIONS = (12, 6, 3)  # chips of one row: the first number with which all rows fit
MOST_HEIGHT = 52.0  # of all rows, which stand in columns
MOST_WIDTH = 24.0
BETWEEN = 0.45  # between columns
SHAPE = 1.5  # wanted width of the sheet over its height


@dataclass(frozen=True)
class Chip:
    """An option from `x`, its left end, on line `line` of its row; `column` is its number, -1 for "+ 3 more"."""

    column: int
    text: str
    x: float
    line: int
    width: float


@dataclass(frozen=True)
class Line:
    """A row with its number, the middle of its first line (x, y), its texts and its chips."""

    number: int
    row: Row
    prefix: str
    label: str
    chips: tuple[Chip, ...]
    x: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        return LINE + WRAP * max(chip.line for chip in self.chips)


@dataclass(frozen=True)
class Sheet:
    """The columns, each (left end, width of its labels, lines); how many rows were left out; the size of it all."""

    columns: tuple[tuple[float, float, tuple[Line, ...]], ...]
    left_out: int
    width: float
    height: float


def arrange(rows: Sequence[Row]) -> Sheet:
    """Places the rows; those beyond MOST_HEIGHT are left out and counted."""
    for most in MOST_OPTIONS:
        lines = _lines(rows, most)
        if len(lines) == len(rows):
            break
    wide = max(_label_width(line) + _chips_width(line) for line in lines) + BETWEEN
    high = sum(line.height for line in lines)
    counts = range(1, max(1, int(MOST_WIDTH / wide)) + 1)
    count = min(counts, key=lambda c: abs(math.log(c * wide / (high / c + 1.0) / SHAPE)))
    columns, left, placed = _packed(lines, count), 0.0, []
    for column in columns:
        labels = max(map(_label_width, column))
        y, put = 0.0, []
        for line in column:
            put.append(Line(line.number, line.row, line.prefix, line.label, line.chips, left, y + LINE / 2))
            y += line.height
        placed.append((left, labels, tuple(put)))
        left += labels + max(map(_chips_width, column)) + BETWEEN
    tallest = max(sum(line.height for line in column) for column in columns)
    return Sheet(tuple(placed), len(rows) - len(lines), left - BETWEEN, tallest)


def _lines(rows: Sequence[Row], most: int) -> list[Line]:
    """As many rows as fit, from the first, each with at most so many options."""
    lines: list[Line] = []
    total = 0.0
    for number, row in enumerate(rows):
        line = Line(number, row, _prefix(row, rows), _shortened(row.name, 34), _chips(row, most))
        total += line.height
        if total > MOST_HEIGHT and lines:
            break
        lines.append(line)
    return lines


def label_start(row: Row) -> float:
    """How far right of its column's left end the label of a row begins."""
    return 0.16 + INDENT * row.depth


def _label_width(line: Line) -> float:
    return label_start(line.row) + text_width(f"{line.prefix}{line.label}", TEXT + 0.5) + 0.3


def _chips_width(line: Line) -> float:
    return max(chip.x + chip.width for chip in line.chips)


def _packed(lines: list[Line], count: int) -> list[list[Line]]:
    """The lines in at most `count` columns, as low as that goes."""
    blocks: list[list[Line]] = []
    for line in lines:
        if line.row.depth == 0 or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    limit = sum(line.height for line in lines) / count
    while len(columns := _filled(blocks, limit)) > count:
        limit += LINE
    return columns


def _filled(blocks: list[list[Line]], limit: float) -> list[list[Line]]:
    columns: list[list[Line]] = [[]]
    room = limit + 1e-6
    for block in blocks:
        high = sum(line.height for line in block)
        pieces = [block] if high <= limit + 1e-6 else [[line] for line in block]
        for piece in pieces:
            high = sum(line.height for line in piece)
            if high > room and columns[-1]:
                columns.append([])
                room = limit + 1e-6
            columns[-1] += piece
            room -= high
    return columns


def _prefix(row: Row, rows: Sequence[Row]) -> str:
    """The options that open the row: "k3 > ", of many in a row "2 ... 5 > "; nothing where every option does."""
    names = rows[row.above].options if row.above >= 0 else ()
    places = [names.index(name) for name in row.opened_by]
    if len(places) == len(names):
        return ""
    if len(places) > 2 and places == list(range(places[0], places[-1] + 1)):
        return f"{_shortened(row.opened_by[0], 14)} \u2026 {_shortened(row.opened_by[-1], 14)} \u203a "
    shown = [_shortened(name, 14) for name in row.opened_by[:3]]
    return ", ".join([*shown, *(["\u2026"] if len(places) > 3 else [])]) + " \u203a "


def _chips(row: Row, most: int) -> tuple[Chip, ...]:
    chips, x, line = [], 0.0, 0
    number = text_width("|  0.00", TEXT) - text_width("|", TEXT) if row.p else 0.0
    for column, text in _shown(row, most):
        width = text_width(text, TEXT) + 0.16
        if column >= 0 and row.p:
            width += number
            text += f"  {row.p[column]:.2f}"
        if x and x + width > WIDEST:
            x, line = 0.0, line + 1
        chips.append(Chip(column, text, x, line, width))
        x += width + GAP
    return tuple(chips)


def _shown(row: Row, most: int) -> list[tuple[int, str]]:
    """(column, text) of the options that are drawn: all, or `most` of them, foremost the strongest or those taken."""
    columns = list(range(len(row.options)))
    if len(columns) > most:
        p = row.p
        foremost = sorted(columns, key=lambda c: -p[c])[:most] if p else sorted(row.taken or ())[:most]
        columns = sorted([*foremost, *(c for c in columns if c not in foremost)][:most])
    texts = [_shortened(row.options[c], 22) for c in columns]
    more = len(row.options) - len(columns)
    return [*zip(columns, texts, strict=True), *([(-1, f"+ {more:,} more")] if more else [])]


def _shortened(text: str, most: int) -> str:
    """At most so many characters, the middle left out."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}\u2026{text[-half:]}"
