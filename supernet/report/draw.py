"""Drawings: a cell as a graph, mixing weights as a heat map. Figures without pyplot, so without global state."""

# E edges, O operations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line
from matplotlib.textpath import TextPath

from ..errors import SupernetError, unknown
from .layout import Edge, Item, place

__all__ = ["draw_cell", "draw_table", "save"]

SCALE = 72.0  # points an inch; the axes of a cell are in inches
FONT = 9.0
INK = "#24292f"
BOX, BOX_EDGE, END, END_EDGE = "#fff4d6", "#c99a2e", "#e6edf5", "#6b7f99"
COLOURS = (("skip", "#8a6d3b"), ("identity", "#8a6d3b"), ("pool", "#1a7f37"), ("none", "#9aa4af"), ("zero", "#9aa4af"),
           ("dil", "#8250df"), ("conv", "#0969da"))  # fmt: skip
OTHER = "#57606a"


class Term(Protocol):
    @property
    def op(self) -> str: ...
    @property
    def source(self) -> int: ...


class Graph(Protocol):
    @property
    def nodes(self) -> Sequence[Sequence[Any]]: ...
    @property
    def concat(self) -> Sequence[int]: ...


def draw_cell(graph: Graph, name: str, *, inputs: int = 2, strength: Sequence[Sequence[float]] | None = None) -> Figure:
    """The cell from left to right: its inputs, its nodes, each term an arrow with its operation, the output.

    `graph.nodes[i]` are the terms (`op`, `source`) of node `inputs + i`, `graph.concat` the nodes of the output.
    `strength`, nested like `graph.nodes`, in 0..1, sets the width of the arrows. Arrows have the gid `term-<i>` in the
    order of the terms, those into the output `concat-<i>`. Raises SupernetError where a term names no earlier node.
    """
    terms = [(inputs + i, term) for i, node in enumerate(graph.nodes) for term in node]
    weights = [1.0] * len(terms) if strength is None else [float(w) for node in strength for w in node]
    output = inputs + len(graph.nodes)
    _check(terms, graph.concat, output, weights)
    names = [*_input_names(inputs), *(str(i) for i in range(len(graph.nodes))), "output"]
    sizes = [(0.62, 0.36) if inputs <= i < output else (0.78, 0.36) for i in range(output + 1)]
    lines: list[tuple[int, int, tuple[float, float] | None]] = [(t.source, node, _size(t.op)) for node, t in terms]
    lines += [(source, output, None) for source in graph.concat]
    boxes, edges = place(sizes, lines, gap=(0.4, 0.11), last=output)
    figure, axes = _canvas([*boxes, *(point for edge in edges for point in edge.points)], name)
    for i, (edge, (_, term), weight) in enumerate(zip(edges[: len(terms)], terms, weights, strict=True)):
        _arrow(axes, edge, _colour(term.op), weight, f"term-{i}", term.op)
    for i, edge in enumerate(edges[len(terms) :]):
        _arrow(axes, edge, "#b3bcc6", 0.5, f"concat-{i}", None)
    for i, box in enumerate(boxes):
        inner = inputs <= i < output
        _box(axes, box, names[i], *((BOX, BOX_EDGE) if inner else (END, END_EDGE)))
    return figure


def draw_table(rows: Sequence[str], columns: Sequence[str], values: Any, *, name: str = "") -> Figure:
    """A heat map of mixing weights [E, O] (array, tensor or nested lists), E `rows` by O `columns`, 0 to the largest.

    Raises SupernetError where the shape is not that of the labels.
    """
    table = values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=float)
    if table.shape != (len(rows), len(columns)):
        raise SupernetError(f"a table of {len(rows)} rows and {len(columns)} columns was given values {table.shape}")
    left = max((_size(str(row))[0] for row in rows), default=0.0) + 0.25
    top = max((_size(str(column))[0] for column in columns), default=0.0) * 0.72 + 0.15 + (0.35 if name else 0)
    wide, high = 0.62 * max(1, len(columns)), 0.27 * max(1, len(rows))
    width, height = left + wide + max(0.6, top * 0.6), top + high + 0.12
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, 0.12 / height, wide / width, high / height))
    largest = float(np.nanmax(table, initial=0.0)) or 1.0
    axes.imshow(table, cmap="Blues", vmin=0, vmax=largest, aspect="auto")
    axes.set_xticks(range(len(columns)), [str(c) for c in columns], fontsize=FONT, rotation=45, ha="left", va="bottom",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(rows)), [str(r) for r in rows], fontsize=FONT)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0, top=False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(table):
        shade = "white" if value > 0.6 * largest else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=FONT - 1.5, color=shade)
    if name:
        figure.text(0.08 / width, 1 - 0.08 / height, name, fontsize=FONT + 2, fontweight="bold", va="top", color=INK)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the figure as .svg or .png, by the suffix; the same figure gives the same bytes. SupernetError else."""
    target = Path(path)
    kind = target.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise SupernetError(unknown("kind of picture", target.suffix, [".svg", ".png"]))
    aside = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        with matplotlib.rc_context({"svg.hashsalt": "supernet"}):
            figure.savefig(aside, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _check(terms: list[tuple[int, Any]], concat: Sequence[int], output: int, weights: list[float]) -> None:
    for node, term in terms:
        if not 0 <= term.source < node:
            raise SupernetError(f"node {node} takes {term.op!r} from {term.source}; it may take from 0..{node - 1}")
    for source in concat:
        if not 0 <= source < output:
            raise SupernetError(f"the output takes from {source}; it may take from 0..{output - 1}")
    if len(weights) != len(terms):
        raise SupernetError(f"{len(weights)} strengths were given for {len(terms)} terms")


def _input_names(inputs: int) -> list[str]:
    if inputs == 1:
        return ["input"]
    return [f"$c_{{k-{inputs - i}}}$" for i in range(inputs)]


def _size(text: str) -> tuple[float, float]:
    """Inches that an operation's label takes."""
    if not text:
        return 0.0, 0.2
    width = TextPath((0, 0), text, size=FONT, prop=FontProperties()).get_extents().width
    return float(width) / SCALE + 0.1, 0.2


def _colour(op: str) -> str:
    return next((colour for part, colour in COLOURS if part in op.lower()), OTHER)


def _canvas(items: list[Item], name: str) -> tuple[Figure, Any]:
    margin, title = 0.12, 0.38
    x0, x1 = min(i.x - i.width / 2 for i in items) - margin, max(i.x + i.width / 2 for i in items) + margin
    y0, y1 = min(i.y - i.height / 2 for i in items) - margin, max(i.y + i.height / 2 for i in items) + margin
    figure = Figure(figsize=(x1 - x0, y1 - y0 + title), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1 + title)
    axes.text(x0 + margin, y1 + title - margin, name, fontsize=FONT + 2, fontweight="bold", va="top", color=INK)
    return figure, axes


def _box(axes: Any, item: Item, text: str, face: str, edge: str) -> None:
    corner = (item.x - item.width / 2, item.y - item.height / 2)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, item.width, item.height, style, fc=face, ec=edge, lw=1.2, zorder=3))
    axes.text(item.x, item.y, text, ha="center", va="center_baseline", fontsize=FONT + 1, color=INK, zorder=4)


def _arrow(axes: Any, edge: Edge, colour: str, weight: float, gid: str, label: str | None) -> None:
    """A line that is level wherever it passes a column, and its label on it."""
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
    width = 0.6 + 1.6 * min(1.0, max(0.0, weight)) if label is not None else 1.0
    axes.add_patch(FancyArrowPatch(path=Line(vertices, codes), arrowstyle="-|>,head_length=3.4,head_width=1.7",
                                   mutation_scale=1.6, color=colour, lw=width, zorder=1, gid=gid,
                                   linestyle="--" if label == "none" else "-"))  # fmt: skip
    if label and edge.label is not None:
        axes.text(edge.label.x, edge.label.y, label, ha="center", va="center_baseline", fontsize=FONT, color=colour,
                  zorder=2, bbox={"fc": "white", "ec": "none", "pad": 1.0})  # fmt: skip


def _fan(edge: Edge) -> tuple[float, float]:
    """How far from the middle of its boxes the line leaves and arrives, so that lines of one box do not coincide."""

    def spread(beside: list[Item], mine: Item, height: float) -> float:
        order = sorted(beside, key=lambda item: -item.y)
        return (0.5 - (order.index(mine) + 0.5) / len(order)) * height * 0.7

    first, last = (edge.points[0], edge.points[-1]) if edge.points else (edge.target, edge.source)
    return (spread(edge.source.right, first, edge.source.height), spread(edge.target.left, last, edge.target.height))
