"""The loop that every stage of training shares: count steps, log, save, resume.

The position of a run is its step alone: epoch = step // steps an epoch, and a checkpoint at the last step of an epoch
is taken after that epoch's end. What is trained is a `Program`; the loop knows nothing of alphas or losses.
"""

import copy
import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from .. import files
from ..config import CheckpointConfig, LogConfig
from ..errors import NumbersError, SupernetError
from ..runs.checkpoint import Checkpoints
from ..runs.folder import RunFolder
from ..runs.log import RunLog
from ..runs.progress import Progress
from ..runs.signals import StopSignals
from ..runs.state import rng_state, set_rng_state
from ..runtime.ranks import Ranks

__all__ = ["Loop", "Outcome", "Program"]

log = logging.getLogger(__name__)

TOLD = {"train/loss": "loss", "train/top1": "acc", "train/bpc": "bpc"}  # metrics of the progress line

Sums = Mapping[str, Mapping[str, Tensor]]  # phase ("train", "alpha") -> sums of a task over batches


class Program(Protocol):
    """One kind of training: what a step does, what the end of an epoch measures, and the state of both."""

    stage: str
    steps: int  # an epoch

    def start(self) -> None:
        """Called once before the first step of a run that does not resume."""

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of `epoch` from number `start` on."""
        ...

    def step(self, batch: Any, epoch: int, step: int) -> Sums:
        """One step; sums stay on the device, so that nothing waits for it. The next step may overwrite them."""
        ...

    def check(self, step: int) -> None:
        """Raises NumbersError where the state after `step` is not fit to be saved."""

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Named numbers of some sums, for a row of the log."""
        ...

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """What the end of an epoch measures; must not draw from a generator that training uses."""
        ...

    def better(self, metrics: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
        """Whether this epoch's metrics beat the best ones so far."""
        ...

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Figures of the present state, at the end of an epoch."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `done` unless it was told to stop early; metrics of the last and of the best epoch."""

    done: bool
    step: int
    last: dict[str, Any]
    best: dict[str, Any]
    seconds: float


class Loop:
    """Runs a program for `epochs` epochs, in a run folder or (run None) in memory only."""

    def __init__(
        self,
        program: Program,
        epochs: int,
        *,
        run: RunFolder | None = None,
        checkpoint: CheckpointConfig | None = None,
        log_config: LogConfig | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.program, self.epochs, self.run_folder = program, epochs, run
        self.ranks = ranks or Ranks()  # in step with each other: every decision below is the same on all of them
        self.every = (checkpoint or CheckpointConfig()).every_steps
        keep = (checkpoint or CheckpointConfig()).keep
        self.checkpoints = Checkpoints(run.checkpoints, keep, config=run.config["hash"]) if run else None
        self.log_config = log_config or LogConfig()
        self.step = 0
        self.seconds = 0.0  # spent in training, over all resumptions
        self.sums: dict[str, dict[str, Tensor]] = {}
        self._line: dict[str, float] | None = None  # what the progress line tells
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self._best_state: dict[str, Any] | None = None  # in memory, where there is no folder to keep it
        self.stop = StopSignals()

    def load_best(self) -> None:
        """Give the program the state that its best epoch ended with."""
        if self.checkpoints is None:
            state = self._best_state
        else:
            found = self.ranks.first(self.checkpoints.best)
            state = found[1]["program"] if found else None
        if state is not None:
            self.program.load_state_dict(state)

    def run(self, until: int | None = None) -> Outcome:
        """Resume where a checkpoint is, and train to the end, or to step `until`, which is saved.

        In a run folder SIGTERM, SIGINT and SIGUSR1 end it after the step they fall into, which is saved; it then raises
        Interrupted. Without a folder there is nothing to go on from, and signals do what they do elsewhere.
        """
        with self.stop if self.run_folder is not None else nullcontext():
            outcome = self._run(until)
            self._stopping()
            self.stop.raise_received()
        return outcome

    def _run(self, until: int | None) -> Outcome:
        resumed = self._resume()
        if not resumed:
            self.program.start()
        begun, before = time.monotonic(), self.seconds
        run_log = None
        if self.run_folder is not None and self.ranks.main:
            run_log = RunLog(
                self.run_folder.path,
                self.log_config,
                resume_step=self.step if resumed else None,
                stage=self.program.stage,
            )
        shown = self.log_config.progress and self.ranks.main
        progress = Progress(self.epochs, self.program.steps, every=self.log_config.every, enabled=shown)
        try:
            with progress:
                end = self.epochs * self.program.steps
                while self.step < end and self.step != until and not self._stopping():
                    self._epoch(until, run_log, progress, lambda: before + time.monotonic() - begun)
                if self.checkpoints is not None:
                    self.checkpoints.wait()
        except NumbersError as error:
            raise self._reported(error) from None
        finally:
            self.seconds = before + time.monotonic() - begun
            if self.checkpoints is not None:
                self.checkpoints.close()
            if run_log is not None:
                run_log.close()
            self.program.close()
        done = self.step >= self.epochs * self.program.steps
        return Outcome(done, self.step, self.last, self.best, self.seconds)

    def _epoch(self, until: int | None, run_log: RunLog | None, progress: Progress, clock: Any) -> None:
        epoch, start = divmod(self.step, self.program.steps)
        for batch in self.program.batches(epoch, start):
            sums = self.program.step(batch, epoch, self.step)
            self.step += 1
            self._add(sums)
            in_epoch = self.step - epoch * self.program.steps
            if self.run_folder is not None and self.step % self.log_config.every == 0:
                sums = self.ranks.total(sums)
                if run_log is not None:
                    run_log.scalars(self.step, self.program.metrics(sums), epoch=epoch)
            ended = in_epoch == self.program.steps
            if ended or in_epoch % self.log_config.every == 0 or not _on_gpu(self.sums):
                self._line = None
            progress.update(epoch + 1, in_epoch, self._told, images=len(batch.index) * self.ranks.world)
            if ended:
                self.program.check(self.step - 1)
                self._end_epoch(epoch, run_log)
            stopped = self.step == until or self._stopping()
            if ended or stopped or (self.every and self.step % self.every == 0):
                self._save(clock(), better=ended and self.best.get("epoch") == epoch)
            if stopped:  # as it was before saving: a signal that came since is heeded after one more step
                return

    def _add(self, sums: Sums) -> None:
        """Adds those of a step to the epoch's, in place: nothing waits."""
        for phase, more in sums.items():
            total = self.sums.setdefault(phase, {})
            for name, value in more.items():
                if name in total and total[name].device == value.device:
                    total[name].add_(value)
                else:  # the first ones, or after a checkpoint was read
                    total[name] = value + total.get(name, 0)

    def _stopping(self) -> bool:
        """Whether some rank was told to stop; then all do, and none waits for another in vain."""
        stopping = self.ranks.any(self.stop.received is not None)
        if stopping and self.stop.received is None:
            self.stop.received = signal.SIGTERM
        return stopping

    def _end_epoch(self, epoch: int, run_log: RunLog | None) -> None:
        metrics = self.program.metrics(self.ranks.total(self.sums))
        running = {f"epoch/{name}": value for name, value in metrics.items()}
        self.last = {"epoch": epoch, **running, **self.program.end_epoch(epoch)}
        self.sums = {}
        if self.program.better(self.last, self.best or None):
            self.best = dict(self.last)
        if run_log is not None:
            run_log.scalars(self.step, {k: v for k, v in self.last.items() if k != "epoch"}, epoch=epoch)
            if self.log_config.tensorboard:
                self.program.show(run_log, self.step, epoch)
            run_log.flush()  # the log is never behind a checkpoint

    def _reported(self, error: NumbersError) -> NumbersError:
        """`error` with where the run goes on from; its report becomes nan_report.json in the run folder."""
        if self.run_folder is None or self.checkpoints is None or not self.ranks.main:
            return error
        self.checkpoints.close()  # which only logs a full disk: the numbers are what the user must hear of
        last = max(self.checkpoints.steps, default=None)
        report = {"stage": self.program.stage, "epochs": self.epochs, **error.report, "last_checkpoint": last}
        path = self.run_folder.path / "nan_report.json"
        if self.ranks.main:
            files.write_json(path, report)
        place = "there is no checkpoint yet" if last is None else f"the last good checkpoint is of step {last}"
        return NumbersError(f"{error}; {place}; {path}", report)

    def _told(self) -> dict[str, float]:
        """Loss and accuracy of the epoch so far, for the progress line; those of the main rank's rows.

        On a GPU those of the last step that was logged: a terminal's line is redrawn more often, and reading waits.
        """
        if self._line is None:
            metrics = self.program.metrics(self.sums or {})
            self._line = {short: metrics[name] for name, short in TOLD.items() if name in metrics}
        return self._line

    def _save(self, seconds: float, better: bool = False) -> None:
        self.program.check(self.step - 1)
        if self.checkpoints is None:
            self._best_state = copy.deepcopy(self.program.state_dict()) if better else self._best_state
            return
        parts = self.ranks.gather(self.sums) if self.ranks.world > 1 else None
        if not self.ranks.main:
            return
        state = {
            "step": self.step,
            "steps_per_epoch": self.program.steps,
            "seconds": seconds,
            "sums": self.sums,
            "last": self.last,
            "best": self.best,
            "rng": rng_state(),
            "program": self.program.state_dict(),
            **({} if parts is None else {"sums_of_ranks": parts}),
        }
        self.checkpoints.save_later(self.step, state, best=better)

    def _resume(self) -> bool:
        found = self._latest()
        if found is None:
            return False
        step, state = found
        if state["steps_per_epoch"] != self.program.steps:
            raise SupernetError(
                f"the run has {state['steps_per_epoch']} steps an epoch, and the data give {self.program.steps}: the "
                "images have changed; run.fresh=true starts anew"
            )
        self.step, self.seconds = state["step"], state["seconds"]
        own = self.ranks.own(state["sums"], state.get("sums_of_ranks"))
        self.sums = {phase: dict(found) for phase, found in own.items()}
        self.last, self.best = state["last"], state["best"]
        self.program.load_state_dict(state["program"])
        set_rng_state(state["rng"])
        if self.ranks.main:
            log.info("resumed at step %d", step)
        return True

    def _latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest good checkpoint; the main rank looks for it, and the others read what it found."""
        checkpoints, ranks = self.checkpoints, self.ranks
        if checkpoints is None:
            return None
        found = ranks.first(lambda: checkpoints.latest() if ranks.main else None)
        step = ranks.broadcast(None if found is None else found[0])
        if not ranks.main and step is not None:
            found = step, checkpoints.load(step)
        ranks.barrier()  # before the main rank may save, and remove what another is reading
        return found


def _on_gpu(sums: Sums) -> bool:
    return any(value.is_cuda for found in sums.values() for value in found.values())
