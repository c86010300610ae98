"""A run folder as others read it, while the run is at work or long after: plain values, nothing written, no torch.

The folder may be a stranger's. Plain files of bounded size are read, nothing behind a link; what is damaged becomes a
line of `faults`, and the rest is read all the same.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from .. import files
from ..errors import SupernetError, short
from .lock import in_use
from .log import ARCHITECTURES
from .names import PAGE
from .shapes import CONFIG, RESULT, Shape, require_shape

__all__ = ["COST", "MOST_ROWS", "Row", "RunRecord", "number", "read_run", "run_folders", "thinned"]

COST = "cost.json"  # parameters and FLOPs of the network that a run is about
MOST_ROWS = 300  # epochs that are kept of a longer run, evenly spread
MOST_STATES = 60  # of architectures.jsonl, whose rows are long
MOST_FOLDERS = 2000  # that a look for runs opens
LINE = 2**22  # characters of a row; the alphas of DARTS take ten thousand

Row: TypeAlias = Mapping[str, Any]  # a JSON object

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class RunRecord:
    """What a run folder tells. Numbers that are not finite are texts, as in the files."""

    path: Path
    stage: str
    config: Row
    identity: Row
    result: Row | None = None  # of a run that has ended
    versions: Row = field(default_factory=dict)
    data: Row = field(default_factory=dict)
    cost: Row = field(default_factory=dict)
    epochs: Sequence[Row] = ()  # the rows of ended epochs, at most MOST_ROWS of `ended`
    ended: int = 0
    states: Sequence[Row] = ()  # rows of architectures.jsonl
    changed: float = 0.0  # seconds since 1970, of the newest file
    faults: Sequence[str] = ()
    working: bool = False  # whether a process is at work on it

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def finished(self) -> bool:
        return self.result is not None

    @property
    def state(self) -> str:
        """finished, at work or stopped"""
        return "finished" if self.finished else "at work" if self.working else "stopped"

    @property
    def planned(self) -> int | None:
        """The epochs that the settings ask for."""
        epochs = self.config.get("epochs")
        return epochs if isinstance(epochs, int) else None

    @property
    def metrics(self) -> Row:
        """Those of the result, else of the last ended epoch."""
        if self.result is not None:
            return dict(self.result.get("metrics", {}))
        return self.epochs[-1] if self.epochs else {}


def read_run(folder: str | os.PathLike[str], *, history: bool = True) -> RunRecord:
    """The record of a run folder; without `history` none of its epochs but the last.

    Raises SupernetError where it is no run folder, OSError where it cannot be read.
    """
    path, faults = Path(folder), list[str]()
    if path.is_symlink() or not (path / "config.json").is_file():
        raise SupernetError(f"{path} is no run folder: it has no config.json")
    stored = _object(path / "config.json", CONFIG)

    def read(reader: Callable[[], T], otherwise: U) -> T | U:
        try:
            return reader()
        except FileNotFoundError:
            pass
        except (OSError, SupernetError) as error:
            faults.append(short(str(error), 200))
        return otherwise

    nothing: Row = {}
    versions, data, cost = (
        read(partial(_object, path / name), nothing) for name in ("version.json", "data.json", COST)
    )
    result = read(partial(_object, path / "result.json", _shape(stored)), None)
    rows = read(lambda: [line for line in _lines(path / "metrics.jsonl") if '"epoch/' in line], [])
    states = read(lambda: list(_lines(path / ARCHITECTURES)), []) if history else []
    return RunRecord(
        path=path,
        stage=str(stored["stage"]),
        config=stored["config"],
        identity=stored["identity"],
        result=result,
        versions=versions,
        data=data,
        cost=cost,
        epochs=_parsed(rows, MOST_ROWS if history else 1),
        ended=len(rows),
        states=_parsed(states, MOST_STATES),
        changed=_changed(path),
        faults=faults,
        working=result is None and in_use(path),
    )


def run_folders(root: str | os.PathLike[str], depth: int = 3) -> list[Path]:
    """The run folders in `root` and below it, sorted; at most `depth` levels, no links, nothing inside a run."""
    found, below, opened = list[Path](), [(Path(root), 0)], 0
    while below and opened < MOST_FOLDERS:
        folder, level = below.pop()
        opened += 1
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        if any(entry.name == "config.json" and entry.is_file(follow_symlinks=False) for entry in entries):
            found.append(folder)
        elif level < depth:
            folders = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
            below += [(Path(entry.path), level + 1) for entry in folders if not entry.name.startswith(".")]
    return sorted(found)


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def thinned(rows: Sequence[T], most: int) -> list[T]:
    """At most `most` of the rows, evenly spread; the last one is always there, the first too where `most` allows."""
    if len(rows) <= most:
        return list(rows)
    if most == 1:
        return [rows[-1]]
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _changed(path: Path) -> float:
    """When the run itself has last written; a page may be made at any time later."""
    entries = [entry for entry in os.scandir(path) if entry.name not in (PAGE, COST)]
    return max((entry.stat(follow_symlinks=False).st_mtime for entry in entries), default=0.0)


def _shape(stored: Row) -> Shape:
    return RESULT if stored["stage"] in ("search", "retrain") else {}


def _object(path: Path, shape: Shape | None = None) -> Row:
    """The JSON object in a file; raises SupernetError where it is none, or has not the `shape`."""
    try:
        value = json.loads(files.read_text(path, files.MOST_RECORD, links=False))
    except SupernetError:
        raise
    except (ValueError, RecursionError) as error:
        raise SupernetError(f"{path} is damaged ({short(str(error), 100)})") from None
    if not isinstance(value, dict):
        raise SupernetError(f"{path} is damaged (no JSON object)")
    require_shape(value, shape or {}, path)
    return value


def _lines(path: Path) -> Iterator[str]:
    """The whole lines of a log, of the newest MOST_RECORD bytes of it; one that is still being written is left out."""
    handle = files.open_plain(path, links=False)
    with open(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if size > files.MOST_RECORD:
            file.seek(size - files.MOST_RECORD)
            file.readline()
        content = file.read(files.MOST_RECORD)
    whole, _, _ = content.rpartition(b"\n")
    yield from (line for line in whole.decode(errors="replace").split("\n") if 0 < len(line) <= LINE)


def _parsed(lines: Sequence[str], most: int) -> list[Row]:
    """The rows that are JSON objects, of lines that are thinned before."""
    rows: list[Row] = []
    for line in thinned(lines, most):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
