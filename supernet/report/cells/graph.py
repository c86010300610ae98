"""A cell as a picture: boxes for its states, a wire for each edge, a legend of operations below.

Wires are level wherever they pass a column of boxes, and their labels lie on them.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path as Line

from ...errors import SupernetError
from ..shapes import FONT, INK, box, canvas, text_width, write
from .layout import Edge, Item, place

__all__ = ["Wire", "draw_graph"]

BOX, BOX_EDGE, END, END_EDGE, JOIN = "#fff4d6", "#c99a2e", "#e6edf5", "#6b7f99", "#b3bcc6"
MARGIN, TITLE, LEGEND = 0.12, 0.38, 0.24  # inches around, above and for a line below the cell
BAR = 0.95  # inches, the shortest strip


@dataclass(frozen=True)
class Wire:
    """An arrow between two states; `ink` is the colour of its label, `bar` a strip of (share, colour) below it."""

    source: int
    target: int
    label: str
    colour: str
    gid: str
    weight: float = 1.0  # 0..1: its width
    opacity: float = 1.0
    dashed: bool = False
    ink: str = ""
    bar: tuple[tuple[float, str], ...] = ()


def draw_graph(
    name: str, inputs: int, nodes: int, wires: Sequence[Wire], concat: Sequence[int],
    legend: Sequence[tuple[str, str]] = (),
) -> Figure:  # fmt: skip
    """The graph from left to right: `inputs` states, `nodes` states, the output that joins the states `concat`.

    States have their numbers, inputs counted first, as in genotypes: the first node of a cell with two inputs is 2.
    `legend` has (operation, colour). Arrows have the gid of their wire, those into the output `concat-<i>`. Raises
    SupernetError where a wire comes from no earlier state.
    """
    output = inputs + nodes
    _check(wires, concat, output)
    names = [*_input_names(inputs), *(str(inputs + i) for i in range(nodes)), "output"]
    sizes = [(0.62, 0.36) if inputs <= i < output else (0.78, 0.36) for i in range(output + 1)]
    lines = [(w.source, w.target, _label_size(w)) for w in wires]
    boxes, edges = place(sizes, [*lines, *((i, output, None) for i in concat)], gap=(0.4, 0.11), last=output)
    figure, axes = _paper([*boxes, *(point for edge in edges for point in edge.points)], name, legend)
    joins = [Wire(i, output, "", JOIN, f"concat-{k}", weight=0.25) for k, i in enumerate(concat)]
    for edge, wire in zip(edges, [*wires, *joins], strict=True):
        _arrow(axes, edge, wire)
    for i, item in enumerate(boxes):
        face, line = (BOX, BOX_EDGE) if inputs <= i < output else (END, END_EDGE)
        box(axes, item.x, item.y, item.width, item.height, fc=face, ec=line, lw=1.2, zorder=3)
        axes.text(item.x, item.y, names[i], fontsize=FONT + 1, ha="center", va="center_baseline", color=INK, zorder=4)
    return figure


def _check(wires: Sequence[Wire], concat: Sequence[int], output: int) -> None:
    for wire in wires:
        if not 0 <= wire.source < wire.target:
            raise SupernetError(
                f"node {wire.target} takes {wire.label!r} from {wire.source}; it may take from 0..{wire.target - 1}"
            )
    for source in concat:
        if not 0 <= source < output:
            raise SupernetError(f"the output takes from {source}; it may take from 0..{output - 1}")


def _input_names(inputs: int) -> list[str]:
    if inputs == 1:
        return ["input (0)"]
    return [f"$c_{{k-{inputs - i}}}$ ({i})" for i in range(inputs)]


def _label_size(wire: Wire) -> tuple[float, float] | None:
    wide = text_width(wire.label) + 0.1 if wire.label else 0.0
    return (max(wide, BAR), 0.3) if wire.bar else (wide, 0.2)


def _paper(items: list[Item], name: str, legend: Sequence[tuple[str, str]]) -> tuple[Figure, Axes]:
    x0, x1 = min(i.x - i.width / 2 for i in items) - MARGIN, max(i.x + i.width / 2 for i in items) + MARGIN
    y0, y1 = min(i.y - i.height / 2 for i in items) - MARGIN, max(i.y + i.height / 2 for i in items) + MARGIN
    x1 = max(x1, x0 + 2 * MARGIN + text_width(name, FONT + 2) * 1.15)  # bold letters are wider
    lines = _legend_lines(legend, x1 - x0 - 2 * MARGIN)
    below = LEGEND * len(lines) + (MARGIN if lines else 0)
    figure, axes = canvas(x1 - x0, y1 - y0 + TITLE + below, left=x0, bottom=y0 - below)
    write(axes, x0 + MARGIN, y1 + TITLE - MARGIN, name, size=FONT + 2, ha="left", fontweight="bold", va="top")
    for row, line in enumerate(lines):
        for left, option, colour in line:
            y = y0 - LEGEND * (row + 0.5)
            axes.add_artist(Rectangle((x0 + MARGIN + left, y - 0.05), 0.1, 0.1, fc=colour, ec="none"))
            write(axes, x0 + MARGIN + left + 0.15, y, option, size=FONT - 1, ha="left")
    return figure, axes


def _legend_lines(legend: Sequence[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    """(left, option, colour) in as many lines as they need."""
    lines: list[list[tuple[float, str, str]]] = []
    left = width
    for option, colour in legend:
        size = text_width(option, FONT - 1) + 0.35
        if left + size > width and (left or not lines):
            lines.append([])
            left = 0.0
        lines[-1].append((left, option, colour))
        left += size
    return lines


def _arrow(axes: Axes, edge: Edge, wire: Wire) -> None:
    fan = _fan(edge)
    stops = [(edge.source.x + edge.source.width / 2, edge.source.y + fan[0])]
    for point in edge.points:
        stops += [(point.x - point.width / 2, point.y), (point.x + point.width / 2, point.y)]
    stops.append((edge.target.x - edge.target.width / 2 - 0.01, edge.target.y + fan[1]))
    vertices, codes = [stops[0]], [Line.MOVETO]
    for (xa, ya), (xb, yb) in itertools.pairwise(stops):
        bend = (xa + xb) / 2
        vertices += [(bend, ya), (bend, yb), (xb, yb)]
        codes += [Line.CURVE4] * 3
    width = 0.6 + 1.6 * min(1.0, max(0.0, wire.weight))
    axes.add_artist(FancyArrowPatch(path=Line(vertices, codes), arrowstyle="-|>,head_length=3.4,head_width=1.7",
                                   mutation_scale=1.6, color=wire.colour, lw=width, zorder=1, gid=wire.gid,
                                   alpha=wire.opacity, linestyle="--" if wire.dashed else "-"))  # fmt: skip
    if wire.label and edge.label is not None:
        _label(axes, edge.label, wire)


def _label(axes: Axes, item: Item, wire: Wire) -> None:
    raised = 0.05 if wire.bar else 0.0
    ground = {"fc": "white", "ec": "none", "pad": 1.0}
    if wire.bar:
        corner = (item.x - item.width / 2, item.y - item.height / 2)
        axes.add_artist(Rectangle(corner, item.width, item.height, fc="white", ec="none", zorder=1.5))
    write(axes, item.x, item.y + raised, wire.label, color=wire.ink or wire.colour, zorder=2, bbox=ground)
    left, wide = item.x - item.width / 2 + 0.05, item.width - 0.1
    total = sum(share for share, _ in wire.bar) or 1.0
    for i, (share, colour) in enumerate(wire.bar):
        step = wide * share / total
        strip = Rectangle((left, item.y - 0.12), step, 0.055, fc=colour, ec="white", lw=0.3, zorder=2)
        strip.set_gid(f"{wire.gid}-{i}")
        axes.add_artist(strip)
        left += step


def _fan(edge: Edge) -> tuple[float, float]:
    """How far from the middle of its boxes the line leaves and arrives, so that lines of one box do not coincide."""

    def spread(beside: list[Item], mine: Item, height: float) -> float:
        order = sorted(beside, key=lambda item: -item.y)
        return (0.5 - (order.index(mine) + 0.5) / len(order)) * height * 0.7

    first, last = (edge.points[0], edge.points[-1]) if edge.points else (edge.target, edge.source)
    return (spread(edge.source.right, first, edge.source.height), spread(edge.target.left, last, edge.target.height))
