"""Runs side by side: a killed one costs itself alone, and a signal reaches each of them once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supernet.config import SearchConfig
from supernet.runs.folder import RunFolder
from supernet.runs.signals import Interrupted
from supernet.stages import Stage
from supernet.stages.compare import jobs as module
from supernet.stages.compare.jobs import Job, run_jobs

DONE = "open(sys.argv[1], 'w').write('{}')"
CODES = {
    0: DONE,
    1: "os.kill(os.getpid(), signal.SIGKILL)",
    2: DONE,
    3: "print('error: no such data', file=sys.stderr); sys.exit(2)",
}
WAITS = """
signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + '.saved', 'a').write('x'), sys.exit(143)))
open(sys.argv[1] + '.begun', 'w').close()
time.sleep(30)
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, str]], list[Job]]:
    """Jobs that run these lines in processes of their own, by seed; each ends where it writes its result."""
    places = {seed: tmp_path / f"{seed}.json" for seed in range(4)}

    class Quick(Stage[SearchConfig, RunFolder]):
        def finished(self, config: SearchConfig) -> RunFolder | None:
            return RunFolder(tmp_path) if places[config.seed].exists() else None

    stage = Quick(name="quick", help="", example="")
    monkeypatch.setattr(module, "compare_finished", lambda *_: None)
    monkeypatch.setattr(Job, "command", property(lambda job: list(job.words)))

    def jobs(codes: dict[int, str]) -> list[Job]:
        def command(seed: int) -> tuple[str, ...]:
            code = f"import os, signal, sys, time\n{codes[seed]}"
            return (sys.executable, "-SEc", code, str(places[seed]))

        return [Job(f"seed {seed}", stage, SearchConfig(seed=seed), command(seed)) for seed in codes]

    return jobs


def test_a_killed_run_costs_itself_alone(make: Any, tmp_path: Path) -> None:
    outcomes = run_jobs(make(CODES), 2, tmp_path / "logs")
    assert [outcome.run is not None for outcome in outcomes] == [True, False, True, False]
    assert outcomes[1].failure.startswith("seed 1: was killed by signal 9") and not outcomes[1].mistake
    assert outcomes[3].failure.startswith("seed 3: no such data (all of it: ") and outcomes[3].mistake
    # The same command runs what is left, and nothing else.
    again = run_jobs(make({seed: DONE if seed in (1, 3) else "sys.exit(1)" for seed in range(4)}), 2, tmp_path)
    assert all(outcome.run is not None for outcome in again)


def test_one_run_asked_for_twice_is_run_once(make: Any, tmp_path: Path) -> None:
    (job,) = make({0: "open(sys.argv[1], 'a').write('x')"})
    assert all(outcome.run is not None for outcome in run_jobs([job, job], 2, tmp_path))
    assert (tmp_path / "0.json").read_text() == "x"


def test_a_signal_is_handed_on_once(make: Any, tmp_path: Path) -> None:
    def send() -> None:
        while len(list(tmp_path.glob("*.begun"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Interrupted):
        run_jobs(make(dict.fromkeys(range(3), WAITS)), 2, tmp_path / "logs")
    sender.join()
    assert [path.read_text() for path in sorted(tmp_path.glob("*.saved"))] == ["x", "x"], "the third was never begun"
