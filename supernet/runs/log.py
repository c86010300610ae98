"""What a run writes along the way: `metrics.jsonl`, `architectures.jsonl` and TensorBoard events.

None of them doubles back on resume.

A row of metrics.jsonl is one JSON object: stage, step, epoch, the values, and under the one key `time` all that a clock
had part in. Two runs with the same numbers have equal rows once that key is dropped: `read_metrics(path, time=False)`.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .. import files
from ..config import LogConfig
from ..errors import SupernetError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["RunLog", "read_metrics"]

ARCHITECTURES = "architectures.jsonl"
RESERVED = ("stage", "step", "epoch", "time")


class RunLog:
    """The log of one run; a context manager. Only one process writes a run's log."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: LogConfig,
        resume_step: int | None = None,
        *,
        stage: str = "search",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the log of a run that goes on after `resume_step`, the step of its checkpoint; None starts anew.

        What an earlier process logged beyond that step is cut off, because it will be logged again.
        """
        self.folder = Path(folder)
        self.config = config
        self.stage = stage
        self._clock = clock
        self._start = clock()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.jsonl", ARCHITECTURES):
            _cut(self.folder / name, resume_step)
        self._rows = _appended(self.folder / "metrics.jsonl")
        self._board = self._open_board(resume_step) if config.tensorboard else None

    def scalars(
        self,
        step: int,
        values: Mapping[str, object],
        *,
        epoch: int | None = None,
        timing: Mapping[str, object] | None = None,
    ) -> None:
        """Writes one row, and each number as a TensorBoard scalar of its name.

        `values` are numbers (plain, numpy or tensors of one element) or text that two equal runs share; `timing` are
        those that a clock had part in (rates, durations). Non-finite numbers become text in the row.
        """
        for key in RESERVED:
            if key in values:
                raise SupernetError(f"a metric cannot be called {key!r}; each row has that already")
        now = self._clock()
        clock = files.plain({"unix": round(now, 3), "elapsed": round(now - self._start, 3), **(timing or {})})
        numbers = {name: _number(value) for name, value in values.items()}
        row = {
            "stage": self.stage,
            "step": step,
            "epoch": epoch,
            **{name: files.plain(value) for name, value in numbers.items()},
            "time": clock,
        }
        self._rows.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._rows.flush()  # from here a kill of the process loses nothing; `flush` guards against one of the machine
        if self._board is None:
            return
        for name, value in {**numbers, **{f"time/{k}": _number(v) for k, v in (timing or {}).items()}}.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def record(self, step: int, values: Mapping[str, object], *, epoch: int | None = None) -> None:
        """Writes a row of architectures.jsonl: any JSON values, which two equal runs share."""
        row = {"stage": self.stage, "step": step, "epoch": epoch, **{k: files.plain(v) for k, v in values.items()}}
        with _appended(self.folder / ARCHITECTURES) as rows:
            rows.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def settings(self, settings: Mapping[str, object], metrics: Mapping[str, object] | None = None) -> None:
        """Shows the settings in TensorBoard: as text, or as hyper-parameters beside the final `metrics`."""
        if self._board is None:
            return
        flat = _flat(settings)
        if metrics is None:
            text = "\n".join(f"    {key}: {value}" for key, value in flat.items())  # indented: taken as it is
            self._board.add_text("settings", text, 0)
        else:
            numbers = {f"final/{k}": v for k, v in metrics.items() if isinstance(v, int | float)}
            plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in flat.items()}
            self._board.add_hparams(plain, numbers, run_name=".")

    def figure(self, step: int, tag: str, figure: "Figure") -> None:
        """Shows a matplotlib figure in TensorBoard; without TensorBoard it does nothing."""
        if self._board is None:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)  # `add_figure` would import pyplot, which keeps global state
        canvas.draw()
        import numpy as np

        self._board.add_image(tag, np.asarray(canvas.buffer_rgba())[..., :3], step, dataformats="HWC")

    def flush(self) -> None:
        """Puts all on disk; called before a checkpoint, so that no checkpoint is ahead of its log."""
        self._rows.flush()
        os.fsync(self._rows.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Closes both files; a second call does nothing."""
        self._rows.close()
        if self._board is not None:
            self._board.close()
            self._board = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_board(self, resume_step: int | None) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        folder = self.folder / "tensorboard"
        old = folder.is_dir() and any(folder.iterdir())
        purge = (0 if resume_step is None else resume_step + 1) if old else None
        if old:
            _wait_for_another_second(folder)
        return SummaryWriter(str(folder), purge_step=purge)


def read_metrics(path: str | os.PathLike[str], *, time: bool = True) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; with `time=False` without what a clock had part in, to compare two runs."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]
    return rows if time else [{key: value for key, value in row.items() if key != "time"} for row in rows]


def _wait_for_another_second(folder: Path) -> None:
    """Until a new file of events sorts behind those that are there, whose names begin with their second.

    Within one second a counter follows, and 10 sorts before 9: what was to be purged would be read last.
    """
    seconds = [int(name[3]) for path in folder.iterdir() if len(name := path.name.split(".")) > 3 and name[3].isdigit()]
    if seconds and max(seconds) >= int(time.time()):
        time.sleep(min(max(seconds) + 1 - time.time(), 1.0))


def _appended(path: Path) -> TextIO:
    """The file at `path`, open to be appended to; raises SupernetError where it is a link or no plain file."""
    return open(files.open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8")


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Settings by their dotted names."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _number(value: object) -> object:
    """A plain number where `value` is one of numpy or torch; all else as it is."""
    return value.item() if hasattr(value, "item") else value


def _cut(path: Path, resume_step: int | None) -> None:
    """Keeps the rows up to `resume_step`; a line that a kill left torn is dropped with them."""
    if not path.exists():
        return
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if resume_step is not None and isinstance(step, int) and step <= resume_step:
            rows.append(line + "\n")
    files.write_text(path, "".join(rows))
