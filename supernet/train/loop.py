"""The loop that every stage of training shares: epochs of batches over a session, which saves, logs and resumes.

The position of a run is its step alone: epoch = step // steps an epoch, and a checkpoint at the last step of an epoch
is taken after that epoch's end. What is trained is a `Program`; the loop knows nothing of alphas, losses or metrics.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from ..config import CheckpointConfig, LogConfig
from ..errors import NumbersError, SupernetError
from ..runs.folder import RunFolder
from ..runs.log import RunLog
from ..runs.progress import Progress, duration
from ..runs.session import Session
from ..runs.state import State
from ..runtime.ranks import Ranks
from ..space.genotype import JSON
from ..tasks.task import PhaseSums

__all__ = ["Loop", "Metrics", "Outcome", "Program"]

ESTIMATED = 5  # steps behind which the whole run's time is estimated; the first ones also load and compile

B = TypeVar("B")  # a batch: only the program knows what it is
Metrics = Mapping[str, Any]  # numbers, and texts that equal runs share


class Program(Protocol[B]):
    """One kind of training: what a step does, what the end of an epoch measures, and the state of both.

    `epochs` and `finished` may change at an epoch's end, and must be the same on all ranks. Both follow from the state.
    """

    stage: ClassVar[str]

    @property
    def steps(self) -> int:
        """The steps of an epoch; the same in every epoch, since a run's position is its step alone."""
        ...

    @property
    def epochs(self) -> int:
        """How many epochs there are in all, as far as is known now."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the run ends here, though there are epochs left."""
        ...

    @property
    def progress_names(self) -> Mapping[str, str]:
        """Which of `metrics` the progress line shows, each with its short word, such as `train/loss` -> `loss`."""
        ...

    def start(self) -> None:
        """Called once before the first step of a run that does not resume."""

    def batches(self, epoch: int, start: int) -> Iterator[B]:
        """The batches of `epoch` from number `start` on."""
        ...

    def samples(self, batch: B) -> int:
        """How many samples the step of `batch` takes on all ranks together, for the rate that is shown."""
        ...

    def step(self, batch: B, epoch: int, step: int) -> PhaseSums:
        """One step; sums stay on the device, so that nothing waits for it. The next step may overwrite them."""
        ...

    def check(self, step: int) -> None:
        """Raises NumbersError where the state after `step` is not fit to be saved."""

    def metrics(self, sums: PhaseSums) -> dict[str, float]:
        """Named numbers of some sums, for a row of the log."""
        ...

    def end_epoch(self, epoch: int) -> Metrics:
        """What the end of an epoch measures; must not draw from a generator that training uses."""
        ...

    def record(self, epoch: int) -> Mapping[str, JSON]:
        """What the ended epoch leaves in architectures.jsonl; {} where there is nothing of the kind."""
        ...

    def peak(self) -> int:
        """Most bytes of memory in use so far: of the device, on the processor of this process."""
        ...

    def better(self, metrics: Metrics, best: Metrics | None) -> bool:
        """Whether this epoch's metrics beat the best ones so far."""
        ...

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Figures of the present state, at the end of an epoch."""
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `done` unless it was told to stop early; metrics of the last and of the best epoch."""

    done: bool
    step: int
    last: Metrics
    best: Metrics
    seconds: float
    history: tuple[Metrics, ...] = ()  # of the epochs that ended in this process


class Loop(Generic[B]):
    """Runs a program to its last epoch, in a run folder or (run None) in memory only."""

    def __init__(
        self,
        program: Program[B],
        *,
        run: RunFolder | None = None,
        checkpoint: CheckpointConfig | None = None,
        log_config: LogConfig | None = None,
        ranks: Ranks | None = None,
        after_epoch: Callable[[], None] = lambda: None,
        energy: Callable[[], float] | None = None,
    ) -> None:
        """`after_epoch` is called where an epoch has ended and is being saved; it must change nothing of the run.

        `energy` counts the joules of the device: the row of an epoch tells those of its part in this process.
        """
        self.program, self.ranks, self._after_epoch = program, ranks or Ranks(), after_epoch
        self._energy, self._energy_before = energy, 0.0
        self.session = Session(program.stage, run=run, checkpoint=checkpoint, log_config=log_config, team=self.ranks)
        self.sums: dict[str, dict[str, Tensor]] = {}  # of the epoch so far, on this rank
        self.last: Metrics = {}
        self.best: Metrics = {}
        self._line: dict[str, float] | None = None  # what the progress line shows
        self._images, self._epoch_began = 0, 0.0  # of the present epoch, in this process
        self._steps = 0  # of this process
        self._history: list[Metrics] = []

    def load_best(self) -> None:
        """Give the program the state that its best epoch ended with."""
        state = self.session.best()
        if state is not None:
            self.program.load_state_dict(state["program"])

    def run(self, until: int | None = None) -> Outcome:
        """Resume where a checkpoint is, and train to the end, or to step `until`, which is saved.

        In a run folder SIGTERM, SIGINT and SIGUSR1 end it after the step they fall into, which is saved; it then raises
        Interrupted. Without a folder there is nothing to go on from, and signals do what they do elsewhere.
        """
        with self.session as session:
            try:
                if not session.resume(self._load):
                    self.program.start()
                if not self._done:
                    session.begin_log()
                began = session.step
                with session.progress(self.program.steps, self.program.epochs) as progress:
                    if not self._done and (ahead := self._ahead()):
                        session.tell(progress, ahead)
                    while not self._done and session.step != until and not session.stopping():
                        self._epoch(until, progress)
                        progress.epochs = self.program.epochs
                if self._done and session.step > began:
                    session.summary(self.last)
            except NumbersError as error:
                raise NumbersError(str(error), {"epochs": self.program.epochs, **error.report}) from None
            finally:
                self.program.close()
        return Outcome(self._done, session.step, self.last, self.best, session.seconds, tuple(self._history))

    @property
    def _done(self) -> bool:
        return self.program.finished or self.session.step >= self.program.epochs * self.program.steps

    def _ahead(self) -> str:
        """What is known of the time and the memory before the first step here; "" for a run of a few steps.

        Both are measured, not computed: a step on tensors without data tells the memory alone, and took 5 to 40 s of a
        core of an AMD EPYC (NAS-Bench-201, second-order DARTS), longer than the five steps do.
        """
        step, total = self.session.step, self.program.epochs * self.program.steps
        if step:
            left = self.session.seconds / step * (total - step)
            return f"about {duration(left)} left by the {step:,} steps before"
        if total <= ESTIMATED:
            return ""
        return f"{total:,} steps ahead; an estimate of the time and the memory follows after the first {ESTIMATED}"

    def _epoch(self, until: int | None, progress: Progress) -> None:
        session = self.session
        epoch, start = divmod(session.step, self.program.steps)
        self._images, self._epoch_began = 0, time.monotonic()
        self._energy_before = self._energy() if self._energy is not None else 0.0
        for batch in self.program.batches(epoch, start):
            sums = self.program.step(batch, epoch, session.step)
            session.step += 1
            self._images += self.program.samples(batch)
            self._add(sums)
            in_epoch = session.step - epoch * self.program.steps
            if session.log_due:
                session.scalars(self.program.metrics(self.ranks.total(sums)), epoch=epoch)
            ended = in_epoch == self.program.steps
            if ended or in_epoch % session.log_config.every == 0 or not _on_gpu(self.sums):
                self._line = None
            progress.update(epoch + 1, in_epoch, self._progress_values, images=self.program.samples(batch))
            self._steps += 1
            if self._steps == ESTIMATED and (left := progress.left()) is not None:
                memory = f"{self.program.peak() / 2**30:.2f} GiB of memory at the peak"
                session.tell(progress, f"about {duration(left)} left by the first {ESTIMATED} steps, {memory}")
            if ended:
                self.program.check(session.step - 1)
                self._end_epoch(epoch)
                session.tell(progress, self._told(epoch))
            stopped = session.step == until or session.stopping()
            if ended or stopped or session.save_due:
                self._save(better=ended and self.best.get("epoch") == epoch)
            if ended:
                self._after_epoch()
            if stopped:  # as it was before saving: a signal that came since is heeded after one more step
                return

    def _add(self, sums: PhaseSums) -> None:
        """Adds those of a step to the epoch's, in place: nothing waits."""
        for phase, more in sums.items():
            total = self.sums.setdefault(phase, {})
            for name, value in more.items():
                if name in total and total[name].device == value.device:
                    total[name].add_(value)
                else:  # the first ones, or after a checkpoint was read
                    total[name] = value + total.get(name, 0)

    def _end_epoch(self, epoch: int) -> None:
        session = self.session
        metrics = self.program.metrics(self.ranks.total(self.sums))
        running = {f"epoch/{name}": value for name, value in metrics.items()}
        self.last = {"epoch": epoch, **running, **self.program.end_epoch(epoch)}
        self.sums = {}
        self._history.append(self.last)
        if self.program.better(self.last, self.best or None):
            self.best = dict(self.last)
        seconds = time.monotonic() - self._epoch_began
        timing = {"images_per_second": round(self._images / seconds, 1)} if self._images and seconds else {}
        if self._energy is not None:
            timing["joules"] = round(self._energy() - self._energy_before, 3)
        session.scalars({k: v for k, v in self.last.items() if k != "epoch"}, epoch=epoch, timing=timing)
        session.record(self.program.record(epoch), epoch)
        if session.log is not None and session.log_config.tensorboard:
            self.program.show(session.log, session.step, epoch)

    def _told(self, epoch: int) -> str:
        """The line of an ended epoch: its numbers on the validation part, and whether it is the best one so far."""
        shown = {short: f"val/{name.removeprefix('train/')}" for name, short in self.program.progress_names.items()}
        fields = [f"val {short} {self.last[name]:.4f}" for short, name in shown.items() if name in self.last]
        best = ["the best so far"] if self.best.get("epoch") == epoch else []
        return "  ".join([f"epoch {epoch + 1}/{self.program.epochs} ended", *fields, *best])

    def _progress_values(self) -> dict[str, float]:
        """The program's metrics of the epoch so far, for the progress line; those of the main rank's rows.

        On a GPU those of the last step that was logged: a terminal's line is redrawn more often, and reading waits.
        """
        if self._line is None:
            metrics = self.program.metrics(self.sums)
            names = self.program.progress_names
            self._line = {short: metrics[name] for name, short in names.items() if name in metrics}
        return self._line

    def _save(self, better: bool = False) -> None:
        self.program.check(self.session.step - 1)
        parts = self.ranks.gather(self.sums) if self.ranks.world > 1 else None
        self.session.save(
            lambda: {
                "steps_per_epoch": self.program.steps,
                "sums": self.sums,
                "last": self.last,
                "best": self.best,
                "program": self.program.state_dict(),
                **({} if parts is None else {"sums_of_ranks": parts}),
            },
            best=better,
        )

    def _load(self, state: State) -> None:
        if state["steps_per_epoch"] != self.program.steps:
            raise SupernetError(
                f"the run has {state['steps_per_epoch']} steps an epoch, and the data give {self.program.steps}: the "
                "images have changed; run.fresh=true starts anew"
            )
        own = self.ranks.own(state["sums"], state.get("sums_of_ranks"))
        self.sums = {phase: dict(sums) for phase, sums in own.items()}
        self.last, self.best = state["last"], state["best"]
        self.program.load_state_dict(state["program"])


def _on_gpu(sums: PhaseSums) -> bool:
    return any(value.is_cuda for phase in sums.values() for value in phase.values())
