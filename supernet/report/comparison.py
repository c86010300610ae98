"""The plots of a comparison: scores of each line, and the signs of collapse over the epochs."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..evaluate.signatures import SIGNATURES
from .shapes import ACCENT, FONT, INK, MUTED, OTHERS, PALE, plain, text_width

__all__ = ["Panel", "draw_scores", "draw_signatures"]

# title, name of the score, and by line the scores, a seed each, and those of random cells
Panel = tuple[str, str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
TITLES = {
    "genotype_skips": "skips in the genotype (share)",
    "mixing_skips": "mean weight of skips",
    "entropy": "entropy of a row (nats)",
    "eigenvalue": "largest eigenvalue",
}


def draw_scores(panels: Sequence[Panel]) -> Figure:
    """One panel below another: a line for each method, dots for its seeds, a mark at the mean, rings: random cells."""
    names = [name for _, _, lines in panels for name in lines]
    left = max(map(text_width, names), default=1.0) + 0.3
    heights = [0.3 * len(lines) + 0.9 for _, _, lines in panels] or [1.0]
    figure = _figure(left + 4.6, sum(heights))
    total = figure.get_figheight()
    top = total
    for (title, metric, lines), height in zip(panels, heights, strict=False):
        box = (left / (left + 4.6), (top - height + 0.5) / total, 4.4 / (left + 4.6), (height - 0.85) / total)
        axes = figure.add_axes(box)
        top -= height
        for place, (scores, random) in enumerate(lines.values()):
            axes.plot(random, [place] * len(random), "o", color=MUTED, fillstyle="none", alpha=0.6, markersize=5)
            axes.plot(scores, [place] * len(scores), "o", color=ACCENT, alpha=0.45, markersize=4)
            axes.plot([fmean(scores)], [place], "|", color=INK, markersize=13, markeredgewidth=2, gid=f"mean-{place}")
            axes.axhline(place, color=PALE, linewidth=0.6, zorder=0)
        axes.set_yticks(range(len(lines)), [plain(name) for name in lines], fontsize=FONT)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        _dress(axes, title)
        axes.set_xlabel(plain(metric), fontsize=FONT)
    return figure


def draw_signatures(records: Sequence[Mapping[str, object]]) -> Figure:
    """A line of panels for each row of the comparison, one for each signature that was logged.

    `records` have row, method, seed, epoch and signatures. A thick line is the mean over the seeds, thin ones are they.
    """
    rows = list(dict.fromkeys(record["row"] for record in records))
    methods = list(dict.fromkeys(record["method"] for record in records))
    shown = [name for name in SIGNATURES if any(name in record for record in records)]
    figure = _figure(3.0 * max(1, len(shown)), 2.3 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), max(1, len(shown)), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes, name in zip(line, shown, strict=True):
            for number, method in enumerate(methods):
                mine = [r for r in records if r["row"] == row and r["method"] == method and name in r]
                _curves(axes, mine, name, OTHERS[number % len(OTHERS)], str(method))
            _dress(axes, f"{row}: {TITLES[name]}" if row else TITLES[name])
            axes.set_xlabel("epoch", fontsize=FONT - 1)
    if grid[0][0].get_legend_handles_labels()[0]:
        grid[0][0].legend(fontsize=FONT - 2, frameon=False)
    figure.tight_layout()
    return figure


def _curves(axes: Axes, records: Sequence[Mapping[str, object]], name: str, colour: str, label: str) -> None:
    by_epoch: dict[int, list[float]] = {}
    by_seed: dict[object, list[tuple[int, float]]] = {}
    for record in records:
        epoch, value = record["epoch"], record[name]
        assert isinstance(epoch, int) and isinstance(value, float)
        by_epoch.setdefault(epoch, []).append(value)
        by_seed.setdefault(record["seed"], []).append((epoch, value))
    for points in by_seed.values():
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.5)
    means = [(epoch, fmean(values)) for epoch, values in sorted(by_epoch.items())]
    if means:
        axes.plot(*zip(*means, strict=True), color=colour, linewidth=1.8, label=plain(label), marker=".", markersize=4)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110)
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(plain(title), fontsize=FONT, color=INK, loc="left")
    axes.tick_params(labelsize=FONT - 1, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
