"""The loop that every stage of training shares: count steps, log, save, resume.

The position of a run is its step alone: epoch = step // steps an epoch, and a checkpoint at the last step of an epoch
is taken after that epoch's end. What is trained is a `Program`; the loop knows nothing of alphas or losses.
"""

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..errors import SupernetError
from .checkpoint import Checkpoints, rng_state, set_rng_state
from .config import CheckpointConfig, LogConfig
from .log import RunLog
from .progress import Progress
from .run import RunFolder
from .task import add_sums

__all__ = ["Loop", "Outcome", "Program"]

log = logging.getLogger(__name__)

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
        """One step; sums stay on the device, so that nothing waits for it."""
        ...

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
    ) -> None:
        self.program, self.epochs, self.run_folder = program, epochs, run
        self.every = (checkpoint or CheckpointConfig()).every_steps
        keep = (checkpoint or CheckpointConfig()).keep
        self.checkpoints = Checkpoints(run.checkpoints, keep) if run else None
        self.log_config = log_config or LogConfig()
        self.step = 0
        self.seconds = 0.0  # spent in training, over all resumptions
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self._best_state: dict[str, Any] | None = None  # in memory, where there is no folder to keep it

    def load_best(self) -> None:
        """Give the program the state that its best epoch ended with."""
        if self.checkpoints is None:
            state = self._best_state
        else:
            found = self.checkpoints.best()
            state = found[1]["program"] if found else None
        if state is not None:
            self.program.load_state_dict(state)

    def run(self, until: int | None = None) -> Outcome:
        """Resume where a checkpoint is, and train to the end, or to step `until`, which is saved."""
        resumed = self._resume()
        if not resumed:
            self.program.start()
        begun, before = time.monotonic(), self.seconds
        run_log = None
        if self.run_folder is not None:
            run_log = RunLog(
                self.run_folder.path,
                self.log_config,
                resume_step=self.step if resumed else None,
                stage=self.program.stage,
            )
        progress = Progress(
            self.epochs, self.program.steps, every=self.log_config.every, enabled=self.log_config.progress
        )
        try:
            with progress:
                while self.step < self.epochs * self.program.steps and self.step != until:
                    self._epoch(until, run_log, progress, lambda: before + time.monotonic() - begun)
        finally:
            self.seconds = before + time.monotonic() - begun
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
            for phase, more in sums.items():
                self.sums[phase] = add_sums(self.sums.get(phase, {}), more)
            in_epoch = self.step - epoch * self.program.steps
            if run_log is not None and run_log.due(self.step):
                run_log.scalars(self.step, self.program.metrics(sums), epoch=epoch)
            progress.update(epoch + 1, in_epoch, self._told, images=_count(sums))
            if in_epoch == self.program.steps:
                self._end_epoch(epoch, run_log)
                self._save(clock(), better=self.best.get("epoch") == epoch)
            elif self.step == until or (self.every and self.step % self.every == 0):
                self._save(clock())
            if self.step == until:
                return

    def _end_epoch(self, epoch: int, run_log: RunLog | None) -> None:
        running = {f"epoch/{name}": value for name, value in self.program.metrics(self.sums).items()}
        self.last = {"epoch": epoch, **running, **self.program.end_epoch(epoch)}
        self.sums = {}
        if self.program.better(self.last, self.best or None):
            self.best = dict(self.last)
        if run_log is not None:
            run_log.scalars(self.step, {k: v for k, v in self.last.items() if k != "epoch"}, epoch=epoch)
            if self.log_config.tensorboard:
                self.program.show(run_log, self.step, epoch)
            run_log.flush()  # the log is never behind a checkpoint

    def _told(self) -> dict[str, float]:
        """Loss and accuracy of the epoch so far, for the progress line."""
        metrics = self.program.metrics(self.sums or {})
        return {"loss": metrics.get("train/loss", 0.0), "acc": metrics.get("train/top1", 0.0)} if metrics else {}

    def _save(self, seconds: float, better: bool = False) -> None:
        if self.checkpoints is None:
            self._best_state = copy.deepcopy(self.program.state_dict()) if better else self._best_state
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
        }
        self.checkpoints.save(self.step, state, best=better)

    def _resume(self) -> bool:
        found = self.checkpoints.latest() if self.checkpoints is not None else None
        if found is None:
            return False
        step, state = found
        if state["steps_per_epoch"] != self.program.steps:
            raise SupernetError(
                f"the run has {state['steps_per_epoch']} steps an epoch, and the data give {self.program.steps}: the "
                "images have changed; run.fresh=true starts anew"
            )
        self.step, self.seconds = state["step"], state["seconds"]
        self.sums, self.last, self.best = state["sums"], state["last"], state["best"]
        self.program.load_state_dict(state["program"])
        set_rng_state(state["rng"])
        log.info("resumed at step %d", step)
        return True


def _count(sums: Sums) -> int:
    """Images of the first phase of a step; counts are made on the host's side of the task."""
    first = next(iter(sums.values()), {})
    return int(first["count"]) if "count" in first else 0
