"""What keeps a loop going across kills: resume, save, stop, log and progress. It knows nothing of what a step is.

    with Session("evolve", run=folder) as session:
        session.resume(searcher.load_state_dict)
        while session.step < budget and not session.stopping():
            ...  # ask, evaluate, tell
            session.step += 1
            session.save(searcher.state_dict)

The position of a run is `step` alone, counted by the loop. Killed at any instant, the same loop goes on from the newest
good checkpoint, with every random generator as it was, and logs again what was logged beyond it.
"""

import copy
import logging
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from .. import files
from ..config import CheckpointConfig, LogConfig
from ..errors import NumbersError
from .checkpoint import Checkpoints
from .folder import RunFolder
from .log import RunLog
from .progress import Progress
from .same_data import noted_digest
from .shapes import as_written
from .signals import StopSignals
from .state import State, rng_state, set_rng_state

__all__ = ["Alone", "Session", "Team"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Team(Protocol):
    """Processes that run one loop in step, so that every decision is the same in all of them (`runtime.ranks`)."""

    @property
    def main(self) -> bool:
        """Whether this process decides and writes."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in some process."""
        ...

    def broadcast(self, value: T) -> T:
        """The main process's value, which JSON can hold, in every process."""
        ...

    def first(self, work: Callable[[], T]) -> T:
        """`work` in the main process and then in the others; what it raises there is raised in all."""
        ...

    def barrier(self) -> None:
        """Until every process is here."""
        ...


class Alone:
    """The team of a single process."""

    main = True

    def any(self, flag: bool) -> bool:
        return flag

    def broadcast(self, value: T) -> T:
        return value

    def first(self, work: Callable[[], T]) -> T:
        return work()

    def barrier(self) -> None:
        pass


class Session:
    """The persistence of one loop, in a run folder or (run None) in memory only. A context manager.

    In a run folder SIGTERM, SIGINT and SIGUSR1 only make `stopping` true; the end of the context then raises
    Interrupted. Without a folder there is nothing to go on from, and signals do what they do elsewhere. The end waits
    until the last checkpoint is on disk (OSError where the disk is full), and a NumbersError that passes is told where
    the run goes on from, and leaves its report as nan_report.json.
    """

    def __init__(
        self,
        stage: str,
        *,
        run: RunFolder | None = None,
        checkpoint: CheckpointConfig | None = None,
        log_config: LogConfig | None = None,
        team: Team | None = None,
    ) -> None:
        """`stage` names the rows of the log."""
        checkpoint = checkpoint or CheckpointConfig()
        self.stage, self.folder, self.team = stage, run, team or Alone()
        self.log_config = log_config or LogConfig()
        self.step = 0
        self.log: RunLog | None = None  # from `resume` on, in the main process of a run in a folder
        self._save_every = checkpoint.every_steps
        self._began_texts = False
        self._checkpoints: Checkpoints | None = None
        if run is not None:
            data = noted_digest(run)
            self._checkpoints = Checkpoints(run.checkpoints, checkpoint.keep, config=run.hash, data=data)
        self._best: State | None = None  # in memory, where there is no folder to keep it
        self._signals = StopSignals()
        self._seconds = 0.0  # of the loop up to `_since`, over all resumptions
        self._since: float | None = None

    def __enter__(self) -> Self:
        if self.folder is not None:
            self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(error)
            if error is None:
                self.stopping()  # a signal that came after the last step
                self._signals.raise_received()
        finally:
            if self.folder is not None:
                self._signals.__exit__(kind, error, trace)

    @property
    def seconds(self) -> float:
        """Time spent in the loop, over all resumptions."""
        return self._seconds + (time.monotonic() - self._since if self._since is not None else 0.0)

    def resume(self, load: Callable[[State], None]) -> bool:
        """Goes on from the newest good checkpoint, whose state `load` is given; False where the run begins.

        The random generators follow after `load`, which may draw. A SupernetError of `load` leaves the folder as it is.
        """
        latest = self._latest()
        if latest is not None:
            step, state = latest
            with as_written(self._place / f"step-{step:08d}", "a state of this run"):
                load(state)
                self.step, self._seconds = step, float(state["seconds"])
                set_rng_state(state["rng"])
            if self.team.main:
                log.info("resumed at step %d", step)
        elif self.team.main:
            self._tell_lost()
        self._since = time.monotonic()
        if self.folder is not None and self.team.main:
            resumed = self.step if latest is not None else None
            self.log = RunLog(self.folder.path, self.log_config, resume_step=resumed, stage=self.stage)
            if latest is None:
                self.log.settings(self.folder.config.get("config", {}))
        return latest is not None

    @property
    def log_due(self) -> bool:
        """Whether a row of the log belongs to the present step; the same in every process."""
        return self.folder is not None and self.step % self.log_config.every == 0

    @property
    def save_due(self) -> bool:
        """Whether the configuration asks for a checkpoint of the present step."""
        return bool(self._save_every and self.step % self._save_every == 0)

    def scalars(
        self, values: Mapping[str, object], epoch: int | None = None, timing: Mapping[str, object] | None = None
    ) -> None:
        """Writes a row of the present step, in the main process."""
        if self.log is not None:
            self.log.scalars(self.step, values, epoch=epoch, timing=timing)

    def record(self, values: Mapping[str, object], epoch: int) -> None:
        """Writes what an epoch leaves, if anything, into architectures.jsonl; in the main process."""
        if self.log is not None and values:
            self.log.record(self.step, values, epoch=epoch)

    def summary(self, metrics: Mapping[str, object]) -> None:
        """The settings beside the metrics that the loop ended with, for TensorBoard; in the main process."""
        if self.log is not None and self.folder is not None:
            self.log.settings(self.folder.config.get("config", {}), metrics)

    def begin_log(self) -> None:
        """From here on what the program logs and tells goes into run.log of the folder, too; in the main process."""
        if self.folder is not None and self.team.main:
            self._began_texts = self.folder.begin_texts()

    def tell(self, progress: Progress, text: str) -> None:
        """A line for whoever watches, and for run.log; in the main process."""
        progress.message(text)
        if self.folder is not None and self.folder.texts is not None:
            self.folder.texts.write(text)

    def progress(self, steps: int, epochs: int | None = None) -> Progress:
        """The line that tells how far the loop is, of `steps` steps (an epoch, where there are epochs)."""
        shown = self.log_config.progress and self.team.main
        return Progress(epochs, steps, every=self.log_config.every, enabled=shown)

    def stopping(self) -> bool:
        """Whether some process was told to stop; then all do, and none waits for another in vain."""
        stopping = self.team.any(self._signals.received is not None)
        if stopping and self._signals.received is None:
            self._signals.received = signal.SIGTERM
        return stopping

    def save(self, state: Callable[[], State], *, best: bool = False) -> None:
        """Saves the present step in the background; `state` is called only in the process that writes.

        `step`, `seconds` and `rng` are entries of the session's own. The log is flushed before, so that it is never
        behind a checkpoint. Without a folder only the best state is kept, as a copy.
        """
        if self._checkpoints is None:
            self._best = copy.deepcopy(state()) if best else self._best
        elif self.team.main:
            if self.log is not None:
                self.log.flush()
            own = {"step": self.step, "seconds": self.seconds, "rng": rng_state()}
            self._checkpoints.save_later(self.step, {**own, **state()}, best=best)

    def best(self) -> State | None:
        """The state that was last saved as the best; None where none was."""
        if self._checkpoints is None:
            return self._best
        best = self.team.first(self._checkpoints.best)
        return best[1] if best is not None else None

    @property
    def _place(self) -> Path:
        return self.folder.checkpoints if self.folder is not None else Path()

    def _tell_lost(self) -> None:
        """A run that was at work before, and has no checkpoint of it."""
        rows = self.folder.path / "metrics.jsonl" if self.folder is not None else None
        if self.folder is not None and (self.folder.finished or (rows and rows.exists() and rows.stat().st_size)):
            log.warning("%s has no checkpoint: it starts again at epoch 1", self.folder.path)

    def _latest(self) -> tuple[int, State] | None:
        """The newest good checkpoint; the main process looks for it, and the others read the same."""
        checkpoints, team = self._checkpoints, self.team
        if checkpoints is None:
            return None
        latest = team.first(lambda: checkpoints.latest() if team.main else None)
        step = team.broadcast(None if latest is None else latest[0])
        if not team.main and step is not None:
            latest = step, checkpoints.load(step)
        team.barrier()  # before the main process may save, and remove what another is reading
        return latest

    def _end(self, error: BaseException | None) -> None:
        """Closes everything; raises what kept the last checkpoint from the disk, where `error` is not the reason."""
        try:
            if error is None and self._checkpoints is not None:
                self._checkpoints.wait()
            if isinstance(error, NumbersError):
                raise self._reported(error) from None
        finally:
            self._seconds, self._since = self.seconds, None
            if self._checkpoints is not None:
                self._checkpoints.close()
            if self.log is not None:
                self.log.close()
                self.log = None
            if self._began_texts and self.folder is not None:
                self.folder.end_texts()

    def _reported(self, error: NumbersError) -> NumbersError:
        """`error` with where the run goes on from; its report becomes nan_report.json in the run folder."""
        if self.folder is None or self._checkpoints is None or not self.team.main:
            return error
        self._checkpoints.close()  # which only logs a full disk: the numbers are what the user must hear of
        last = max(self._checkpoints.steps, default=None)
        report = {"stage": self.stage, **error.report, "last_checkpoint": last}
        path = self.folder.path / "nan_report.json"
        files.write_json(path, report)
        place = "there is no checkpoint yet" if last is None else f"the last good checkpoint is of step {last}"
        return NumbersError(f"{error}; {place}; {path}", report)
