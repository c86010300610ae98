"""The text that is built in: a few modules of Python's own library, as they are installed. Needs no torch."""

import importlib.util
from pathlib import Path

from ..errors import SupernetError

__all__ = ["EMBEDDED", "embedded_text"]

MODULES = ("heapq", "textwrap", "random")
EMBEDDED = 60_000  # characters of the default: a search of two epochs takes half a minute


def embedded_text() -> str:
    """The first EMBEDDED characters of the modules; raises SupernetError where their source is not installed."""
    parts = []
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        path = Path(spec.origin) if spec is not None and spec.origin else None
        if path is None or path.suffix != ".py" or not path.is_file():
            raise SupernetError(f"this Python has no source of its module {name!r}; give a text file by data.root=FILE")
        parts.append(path.read_text(encoding="utf-8"))
    return "".join(parts)[:EMBEDDED]
