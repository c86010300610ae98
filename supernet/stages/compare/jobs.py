"""The runs of a comparison: found where they have ended, resumed where they were stopped, else begun.

One after the other they run in this process; side by side each is a process of its own, the same command that a user
would type. So each lives in its ordinary run folder, and the end of one, whatever its reason, costs that run alone.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...config import RetrainConfig, SearchConfig
from ...errors import StoppedError, SupernetError
from ...files import slug
from ...runs.folder import RunFolder
from ...runs.identity import identity
from ...runs.same_data import compare_finished
from ...runs.signals import StopSignals
from ..stage import AnyStage

__all__ = ["Job", "Outcome", "run_jobs"]

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two looks at the processes
LAST = 400  # characters of the last line of a process that failed


@dataclass(frozen=True)
class Job:
    """One run of a stage: its settings, and the words by which the command line makes the same."""

    name: str  # for whoever watches
    stage: AnyStage
    config: SearchConfig | RetrainConfig
    words: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        """What runs it in a process of its own."""
        return [sys.executable, "-m", __name__.partition(".")[0], self.stage.name, *self.words, "log.progress=false"]


@dataclass(frozen=True)
class Outcome:
    """A run that has ended, or why it has not."""

    run: RunFolder | None
    failure: str = ""
    mistake: bool = False  # whether the settings, and not the run, are at fault


def run_jobs(jobs: Sequence[Job], side: int, folder: Path) -> list[Outcome]:
    """The outcome of each job, `side` of them at a time; jobs that are one run are run once.

    What processes say goes to `folder`. Raises Interrupted where this process was told to stop, after the runs have
    saved their state.
    """
    identities = [_identity(job) for job in jobs]
    different = dict(zip(reversed(identities), reversed(jobs), strict=True))  # of equal ones the first
    outcomes: dict[str, Outcome] = {}
    waiting: dict[str, Job] = {}
    for name, job in reversed(different.items()):
        if (outcome := _ended(job)) is not None:
            outcomes[name] = outcome
        else:
            waiting[name] = job
    if waiting:
        log.info("%d of %d runs are there, %d to go", len(outcomes), len(different), len(waiting))
    failures = _in_turn(waiting.values()) if side == 1 else _side_by_side(waiting.values(), side, folder)
    for name, job in waiting.items():
        outcomes[name] = _ended(job) or failures.get(job.name) or Outcome(None, f"{job.name} has not ended")
    return [outcomes[name] for name in identities]


def _identity(job: Job) -> str:
    """Equal for jobs that are the same run."""
    label = job.stage.label(job.config) if job.stage.label is not None else None
    return f"{job.stage.name} {identity(job.config, job.stage.name, label.text if label else None)[1]}"


def _ended(job: Job) -> Outcome | None:
    """The ended run of the job's settings, or why it is none of them, such as on other data; None where it must run."""
    try:
        run = job.stage.finished(job.config)
        if run is not None:
            compare_finished(run, job.config.data, job.stage.name, job.config.seed)
    except SupernetError as error:
        return Outcome(None, f"{job.name}: {error}", mistake=True)
    return None if run is None else Outcome(run)


def _in_turn(jobs: Collection[Job]) -> dict[str, Outcome]:
    """Those that failed, by name, with why."""
    failures: dict[str, Outcome] = {}
    for number, job in enumerate(jobs, start=1):
        log.info("run %d of %d: %s", number, len(jobs), job.name)
        try:
            job.stage.run(job.config)
        except SupernetError as error:
            log.warning("%s: %s", job.name, error)
            failures[job.name] = Outcome(None, f"{job.name}: {error}", not isinstance(error, StoppedError))
        except Exception as error:  # a fault of one method must not keep the others from their scores
            log.exception("%s", job.name)
            failures[job.name] = Outcome(None, f"{job.name}: {type(error).__name__}: {error}")
    return failures


def _side_by_side(jobs: Collection[Job], side: int, folder: Path) -> dict[str, Outcome]:
    """Those that failed, by name, with why. A signal to this process is handed on once, and all are waited for."""
    threads = max(1, (os.cpu_count() or 1) // side)
    waiting, running = list(reversed(list(jobs))), dict[int, tuple[Job, subprocess.Popen[bytes], Path]]()
    failures: dict[str, Outcome] = {}
    told = False
    with StopSignals() as signals:
        try:
            while running or (waiting and signals.received is None):
                while waiting and len(running) < side and signals.received is None:
                    job = waiting.pop()
                    said = folder / f"{slug(job.name, 80)}.log"
                    process = _start(job, said, threads)
                    log.info("run %d of %d: %s", len(jobs) - len(waiting), len(jobs), job.name)
                    running[process.pid] = job, process, said
                if signals.received is not None and not told:
                    told = True
                    _stop(running)
                for pid, (job, process, said) in list(running.items()):
                    if (code := process.poll()) is None:
                        continue
                    del running[pid]
                    if code != 0:
                        failures[job.name] = _failed(job, code, said)
                        log.warning("%s", failures[job.name].failure)
                time.sleep(POLL)
        finally:
            _stop(running)
            for _, process, _ in running.values():
                process.wait()
        signals.raise_received()
    return failures


def _start(job: Job, said: Path, threads: int) -> "subprocess.Popen[bytes]":
    """The job in a session of its own, so that Ctrl-C reaches it through this process alone, and once."""
    environment: Mapping[str, str] = {"OMP_NUM_THREADS": str(threads), **os.environ}
    said.parent.mkdir(parents=True, exist_ok=True)
    with open(said, "wb") as file:
        return subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def _stop(running: Mapping[int, tuple[Job, "subprocess.Popen[bytes]", Path]]) -> None:
    for _, process, _ in running.values():
        if process.poll() is None:
            process.terminate()


def _failed(job: Job, code: int, said: Path) -> Outcome:
    """Why, by the last line of what the process said."""
    lines = said.read_text(encoding="utf-8", errors="replace").split("\n") if said.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    text = f"was killed by signal {-code}" if code < 0 else last[-LAST:].removeprefix("error: ") or f"exit code {code}"
    return Outcome(None, f"{job.name}: {text} (all of it: {said})", mistake=code == 2)
