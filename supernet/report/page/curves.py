"""The numbers of the epochs: which stand together in one plot, the plots, and the table of all of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...errors import short
from ...runs.reading import Row, number
from ..shapes import ACCENT, FONT, MUTED, OTHERS, PALE, plain
from .facts import number_text

__all__ = ["Panel", "columns_of", "draw_panel", "panels", "table_rows"]

MOST_PANELS, MOST_COLUMNS = 12, 16
RESERVED = ("stage", "step", "epoch", "time")
PARTS = {"epoch/train/": "weights' part", "epoch/alpha/": "alphas' part", "val/": "validation"}
COLOURS = (ACCENT, "#bc4c00", "#1a7f37", "#8250df", *OTHERS)
WORDS = {
    "loss": "Loss", "top1": "Accuracy (top 1)", "top5": "Accuracy (top 5)", "f1": "F1", "rmse": "RMSE", "miou": "mIoU",
}  # fmt: skip
OWN = {
    "alpha/mean_entropy": "Mean entropy of a row (nats)",
    "alpha/decided": "Way from uniform to decided",
    "genotype/skip_share": "Share of skips in the genotype",
    "lr": "Learning rate",
    "method/eigenvalue": "Largest eigenvalue",
}
Series = Sequence[tuple[int, float]]  # (epoch from 1, value)


@dataclass(frozen=True)
class Panel:
    """A plot: its title, and its lines by their names."""

    title: str
    lines: Mapping[str, Series]


def panels(epochs: Sequence[Row], stage: str) -> list[Panel]:
    """Loss, the task's metrics, entropy, skips, then the rest; at most MOST_PANELS."""
    return [panel for panel in _all(epochs, stage) if any(panel.lines.values())][:MOST_PANELS]


def columns_of(epochs: Sequence[Row]) -> list[str]:
    """The numbers that the table of epochs shows, by their names in metrics.jsonl."""
    names = _names(epochs)
    first = [name for name in names if name.startswith((*PARTS, *OWN))]
    return [*first, *(name for name in names if name not in first)][:MOST_COLUMNS]


def table_rows(epochs: Sequence[Row], columns: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(epoch counted from 1, for each column the number as the file has it and as people read it; "" for none)."""
    rows = []
    for row in epochs:
        epoch = row.get("epoch")
        values = [row.get(name) for name in columns]
        shown = [("" if number(v) is None else json.dumps(v), short(number_text(v), 40)) for v in values]
        rows.append((str(epoch + 1) if isinstance(epoch, int) else "", shown))
    return rows


def draw_panel(panel: Panel) -> Figure:
    """One small plot; a line of a single epoch is a dot."""
    figure = Figure(figsize=(3.9, 2.35), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.125, 0.125, 0.855, 0.82))
    axes.patch.set_alpha(0)
    for colour, (name, points) in zip(COLOURS, panel.lines.items(), strict=False):
        marker = "o" if len(points) == 1 else ""
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=plain(name), marker=marker, ms=4)
    axes.tick_params(labelsize=FONT - 1.5, color=PALE, labelcolor=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.grid(axis="y", color=PALE, linewidth=0.6, alpha=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    if len(panel.lines) > 1:
        axes.legend(fontsize=FONT - 1.5, frameon=False, labelcolor=MUTED)
    return figure


def _all(epochs: Sequence[Row], stage: str) -> Iterator[Panel]:
    names = _names(epochs)
    parts = {**PARTS, "epoch/train/": "training"} if stage != "search" else PARTS
    metrics = dict.fromkeys(
        name.removeprefix(part) for part in parts for name in names if name.startswith(part) and name != part
    )
    taken = set()
    for metric in sorted(metrics, key=lambda m: (m != "loss", list(metrics).index(m))):
        lines = {label: _series(epochs, part + metric) for part, label in parts.items() if part + metric in names}
        taken |= {part + metric for part in parts}
        yield Panel(WORDS.get(metric, metric), lines)
    for name, title in OWN.items():
        if name in names:
            taken.add(name)
            yield Panel(title, {title: _series(epochs, name)})
    for kind, title in (("alpha/entropy/", "Entropy by table (nats)"), ("alpha/skip_share/", "Weight of skips")):
        below = [name for name in names if name.startswith(kind)]
        taken |= set(below)
        if below:
            yield Panel(title, {name.removeprefix(kind): _series(epochs, name) for name in below[: len(COLOURS)]})
    for name in names:
        if name not in taken:
            yield Panel(name, {name: _series(epochs, name)})


def _names(epochs: Sequence[Row]) -> list[str]:
    """Names under which some epoch has a number, in the order of their first appearance."""
    seen: dict[str, None] = {}
    for row in epochs:
        seen |= dict.fromkeys(name for name, v in row.items() if name not in RESERVED and number(v) is not None)
    return list(seen)


def _series(epochs: Sequence[Row], name: str) -> Series:
    points = []
    for row in epochs:
        epoch, value = row.get("epoch"), number(row.get(name))
        if isinstance(epoch, int) and number(epoch) is not None and value is not None:
            points.append((epoch + 1, value))
    return points
