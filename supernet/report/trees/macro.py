"""A decision tree along its network: each decision a row, its options as chips, from the input to the output.

Decided, the option that is taken is dark; relaxed, each option is as dark as its p. What is closed is pale; what an
option opens is indented below, behind the name of that option.
"""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...space import Genotype, Space
from ...space.space import Strengths
from ..shapes import ACCENT, FONT, INK, MUTED, PALE, box, canvas, lighter, text_width, write
from .columns import CHIP, INDENT, LINE, TEXT, WRAP, Chip, Line, Sheet, arrange, label_start
from .rows import Row, tree_rows

__all__ = ["draw_macro"]

MARGIN, HEAD, FOOT, CAP = 0.18, 0.56, 0.26, 0.34  # around, title, closing line, room for "input" and "output"
SPINE = lighter(ACCENT, 0.45)
TELLS = (
    "dark: taken, pale: closed",
    "darker: larger p, paler: less likely to be open",
    "each takes one of its options",
)


def draw_macro(space: Space, genotype: Genotype | None = None, strengths: Strengths | None = None) -> Figure:
    """The tree of `space` as one figure of bounded size; what does not fit is left out, and the figure says so.

    Labels have the gid `decision-<row>`, chips `option-<row>-<column>`.
    """
    rows = tree_rows(space, genotype, strengths)
    sheet = arrange(rows)
    mode = TELLS[0] if genotype is not None else TELLS[1] if strengths is not None else TELLS[2]
    caption = f"{_count(len(rows), 'decision')}, {_size(space.size)} points; {mode}"
    if any(row.default for row in rows):
        caption += "; dashed: no alphas, the default"
    width = max(sheet.width, text_width(caption), 1.15 * text_width(space.name, FONT + 3)) + 2 * MARGIN
    low = -(2 * CAP + sheet.height) - MARGIN - (FOOT if sheet.left_out else 0.0)
    figure, axes = canvas(width, HEAD - low + MARGIN, left=-MARGIN, bottom=low)
    write(axes, 0, HEAD - 0.08, space.name, size=FONT + 3, ha="left", fontweight="bold")
    write(axes, 0, HEAD - 0.33, caption, size=FONT - 0.5, ha="left", color=MUTED)
    for number, (left, labels, lines) in enumerate(sheet.columns):
        _spine(axes, left, lines, first=number == 0, last=number == len(sheet.columns) - 1, sheet=sheet)
        for line in lines:
            _line(axes, line, left + labels, rows, lines)
    if sheet.left_out:
        note = f"{_count(sheet.left_out, 'more decision')} of {len(rows):,} not drawn"
        write(axes, 0, low + MARGIN, note, size=FONT, ha="left", color=MUTED, fontstyle="italic")
    return figure


def _spine(axes: Axes, left: float, lines: tuple[Line, ...], *, first: bool, last: bool, sheet: Sheet) -> None:
    """The network's own line, down the column."""
    end = -CAP - lines[-1].y - lines[-1].height + LINE / 2 - 0.12
    begin = -CAP + 0.06
    axes.plot([left, left], [begin, end], color=SPINE, lw=1.6, solid_capstyle="round", zorder=1)
    words = ("input" if first else "", "" if not last else "output" if not sheet.left_out else "\u2026")
    for word, y in zip(words, (begin + 0.12, end - 0.13), strict=True):
        write(axes, left - 0.03, y, word, size=TEXT + 0.5, ha="left", color=ACCENT, fontweight="bold")
    if not last:
        axes.plot([left], [end], marker="v", ms=4, color=SPINE, zorder=2)


def _line(axes: Axes, line: Line, chips_from: float, rows: list[Row], beside: tuple[Line, ...]) -> None:
    row, y = line.row, -CAP - line.y
    strength = 0.3 + 0.7 * row.open
    x = line.x + label_start(row)
    if row.depth == 0:
        axes.plot([line.x], [y], marker="o", ms=5, mfc="white", mec=ACCENT, mew=1.3, zorder=2)
    else:
        above = [other.y for other in beside if other.number == row.above]
        corner = x - INDENT + 0.08
        top = -CAP - above[0] - 0.11 if above else -CAP
        axes.plot([corner, corner, x - 0.05], [top, y, y], color=PALE, lw=1.0, zorder=0.5)
    if line.prefix:
        write(axes, x, y, line.prefix, size=TEXT + 0.5, ha="left", color=MUTED, alpha=strength)
    x += text_width(f"{line.prefix}|", TEXT + 0.5) - text_width("|", TEXT + 0.5) if line.prefix else 0.0
    style = {"alpha": strength, "gid": f"decision-{line.number}"}
    write(axes, x, y, line.label, size=TEXT + 0.5, ha="left", **style)
    for chip in line.chips:
        _chip(axes, chip, row, line.number, chips_from + chip.x + chip.width / 2, y - WRAP * chip.line, strength)


def _chip(axes: Axes, chip: Chip, row: Row, number: int, x: float, y: float, strength: float) -> None:
    face, edge, ink = "white", PALE, MUTED
    if chip.column < 0:
        write(axes, x, y, chip.text, size=TEXT, color=MUTED, alpha=strength)
        return
    if row.p is not None:
        p = min(1.0, max(0.0, row.p[chip.column]))
        face, edge, ink = lighter(ACCENT, 1 - p), lighter(ACCENT, 0.7 * (1 - p)), "white" if p * strength > 0.5 else INK
    elif row.taken is None:
        face, ink = "#f6f8fa", INK
    elif chip.column in row.taken:
        face, edge, ink = ("#f6f8fa", ACCENT, INK) if row.default else (ACCENT, ACCENT, "white")
    dashed = row.default and row.taken is not None and chip.column in row.taken
    style = {"fc": face, "ec": edge, "lw": 1.0, "alpha": strength, "linestyle": "--" if dashed else "-"}
    box(axes, x, y, chip.width, CHIP, zorder=3, gid=f"option-{number}-{chip.column}", **style)
    readable = strength if row.p is None else 1.0 if ink == "white" else max(0.6, strength)
    write(axes, x, y, chip.text, size=TEXT, color=ink, alpha=readable, zorder=4)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(size: int) -> str:
    """A whole number of any length; above a million its power of ten."""
    if size < 1_000_000:
        return f"{size:,}"
    power = math.floor(math.log10(size))
    return f"{size // 10 ** (power - 1) / 10:.1f}e{power}"
