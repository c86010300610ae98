"""What all drawings share: colours, the size of a text, boxes and lettering. Lengths are inches, heights grow upwards.

Figures are made without pyplot, so without global state.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

__all__ = [
    "ACCENT", "FONT", "INK", "MUTED", "PALE", "box", "canvas", "darkest", "family", "lighter", "plain", "shades",
    "text_width", "write",
]  # fmt: skip

SCALE = 72.0  # points an inch
FONT = 9.0
INK, MUTED, PALE, ACCENT = "#24292f", "#6e7781", "#d0d7de", "#0969da"
FAMILIES = (("skip", "#8a6d3b"), ("identity", "#8a6d3b"), ("pool", "#1a7f37"), ("none", "#9aa4af"), ("zero", "#9aa4af"),
            ("dil", "#8250df"), ("conv", "#0969da"))  # fmt: skip
OTHERS = ("#57606a", "#bc4c00", "#1b7c83", "#bf3989", "#4d2d00", "#6639ba", "#116329", "#0a3069")


def canvas(width: float, height: float, *, left: float = 0.0, bottom: float = 0.0) -> tuple[Figure, Axes]:
    """A figure of that size and its only axes, in inches; (left, bottom) is its lower left corner."""
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, left + width)
    axes.set_ylim(bottom, bottom + height)
    return figure, axes


def box(axes: Axes, x: float, y: float, width: float, height: float, **style: Any) -> None:
    """A rounded box around the middle (x, y); `style` is that of matplotlib's patches."""
    rounding = min(0.08, 0.4 * height)
    shape = f"round,pad=0,rounding_size={rounding:.3f}"
    axes.add_artist(FancyBboxPatch((x - width / 2, y - height / 2), width, height, shape, **style))


def write(axes: Axes, x: float, y: float, text: str, *, size: float = FONT, ha: str = "center", **style: Any) -> None:
    """One line of text around, left or right of (x, y), taken literally."""
    style = {"color": INK, "va": "center_baseline", **style}
    axes.text(x, y, plain(text), fontsize=size, ha=ha, **style)


@cache
def text_width(text: str, size: float = FONT) -> float:
    """Inches that one line of text takes."""
    if not text:
        return 0.0
    literal = plain(text).replace(r"\$", "$")
    width, _, _ = text_to_path.get_text_width_height_descent(literal, FontProperties(size=size), ismath=False)
    return float(width) / SCALE


def plain(text: str) -> str:
    """`text` for matplotlib: a $ begins no formula, and what cannot be printed, which no SVG may hold, is a ?."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("$", r"\$")


def family(option: str) -> str:
    """The colour of an operation, by what its name says of it."""
    return next((colour for part, colour in FAMILIES if part in option.lower()), OTHERS[0])


def darkest(option: str, shade: str) -> str:
    """The colour for lettering: an option's shade may be too pale for it, its family's colour never is."""
    return shade if family(option) == OTHERS[0] else family(option)


def shades(options: Sequence[str]) -> list[str]:
    """A colour for each option: those of one family differ in brightness, those of no family in hue."""
    families = [family(option) for option in options]
    colours = []
    for i, colour in enumerate(families):
        place, count = families[:i].count(colour), families.count(colour)
        if colour == OTHERS[0]:
            colours.append(lighter(OTHERS[place % len(OTHERS)], 0.25 * (place // len(OTHERS) % 4)))
        else:
            colours.append(lighter(colour, 0.66 * place / max(2, count - 1)))
    return colours


def lighter(colour: str, share: float) -> str:
    """`colour` mixed with this share of white, 0..1."""
    red, green, blue = (part + (1 - part) * share for part in to_rgb(colour))
    return to_hex((red, green, blue))
