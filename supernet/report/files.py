"""Figures as files: .svg or .png, whole or absent, the same figure always the same bytes."""

import io
import os
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from ..errors import SupernetError, unknown
from ..files import write_bytes

__all__ = ["KINDS", "picture", "save"]

KINDS = ("svg", "png")


def picture(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of an "svg" or a "png"."""
    if kind not in KINDS:
        raise SupernetError(unknown("kind of picture", kind, KINDS))
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "supernet"}):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the figure as .svg or .png, by the suffix. SupernetError for any other, OSError as the disk does."""
    target = Path(path)
    kind = target.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise SupernetError(unknown("kind of picture", target.suffix, [f".{k}" for k in KINDS]))
    write_bytes(target, picture(figure, kind))
