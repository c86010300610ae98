"""A table of mixing weights as a heat map."""

# E edges, O operations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import SupernetError
from .shapes import FONT, INK, plain, text_width

__all__ = ["draw_table"]


def draw_table(rows: Sequence[str], columns: Sequence[str], values: object, *, name: str = "") -> Figure:
    """A heat map of mixing weights [E, O] (array, tensor or nested lists), E `rows` by O `columns`, 0 to the largest.

    Raises SupernetError where the shape is not that of the labels.
    """
    table = values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=float)
    if table.shape != (len(rows), len(columns)):
        raise SupernetError(f"a table of {len(rows)} rows and {len(columns)} columns was given values {table.shape}")
    left = max((text_width(str(row)) for row in rows), default=0.0) + 0.35
    top = max((text_width(str(column)) for column in columns), default=0.0) * 0.72 + 0.22 + (0.35 if name else 0)
    wide, high = 0.62 * max(1, len(columns)), 0.27 * max(1, len(rows))
    width, height = left + wide + max(0.6, top * 0.6), top + high + 0.12
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, 0.12 / height, wide / width, high / height))
    largest = float(np.nanmax(table, initial=0.0)) or 1.0
    axes.imshow(table, cmap="Blues", vmin=0, vmax=largest, aspect="auto")
    axes.set_xticks(range(len(columns)), [plain(str(c)) for c in columns], fontsize=FONT, rotation=45, ha="left",
                    va="bottom", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(rows)), [plain(str(r)) for r in rows], fontsize=FONT)
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
        at = (0.08 / width, 1 - 0.08 / height)
        figure.text(*at, plain(name), fontsize=FONT + 2, fontweight="bold", va="top", color=INK)
    return figure
