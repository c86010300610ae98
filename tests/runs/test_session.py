"""Another kind of loop over a session, ask and tell: stopped or killed anywhere, it ends with the same bits."""

import io
import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.config import CheckpointConfig, LogConfig, SearchConfig, from_mapping
from supernet.errors import NumbersError
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.folder import RunFolder
from supernet.runs.log import read_metrics
from supernet.runs.progress import Progress
from supernet.runs.session import Session
from supernet.runs.signals import Interrupted
from supernet.runtime.device import seed_everything
from tests.support.forked import ended, fork

BUDGET = 12  # evaluations


class Walk:
    """A searcher that asks for a number near its best one, drawn from a generator of its own and from torch's."""

    def __init__(self) -> None:
        self.rng, self.best, self.count = random.Random(7), (0.0, -1e9), 0

    def ask(self) -> float:
        return self.best[0] + self.rng.gauss(0, 1) + float(torch.rand(()))

    def tell(self, point: float, score: float) -> None:
        self.count += 1
        self.best = max(self.best, (point, score), key=lambda pair: pair[1])

    def state_dict(self) -> dict[str, Any]:
        version, numbers, gauss = self.rng.getstate()
        return {"rng of walk": [version, list(numbers), gauss], "best": list(self.best), "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        version, numbers, gauss = state["rng of walk"]
        self.rng.setstate((version, tuple(numbers), gauss))
        point, score = state["best"]
        self.best, self.count = (point, score), state["count"]


def folder(root: Path) -> RunFolder:
    return RunFolder.open(from_mapping(SearchConfig, {"run": {"root": str(root), "name": "run"}}), "search")


def search(root: Path, at: Callable[[int], None] = lambda step: None) -> Walk:
    """Asks, evaluates and tells until the budget is spent; `at` is called in the midst of every step."""
    seed_everything(0)
    walk = Walk()
    log = LogConfig(every=1, progress=False, tensorboard=False)
    checkpoint = CheckpointConfig(every_steps=2)
    with folder(root) as run, Session("walk", run=run, checkpoint=checkpoint, log_config=log) as session:
        session.resume(walk.load_state_dict)
        while session.step < BUDGET and not session.stopping():
            point = walk.ask()
            at(session.step)
            walk.tell(point, -((point - 3) ** 2))
            session.step += 1
            session.scalars({"point": point, "best": walk.best[1]})
            if session.save_due or session.stopping():
                session.save(walk.state_dict)
    return walk


def final(root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    latest = Checkpoints(root / "run" / "checkpoints").latest()
    assert latest is not None and latest[0] == BUDGET
    state = {key: value for key, value in latest[1].items() if key != "seconds"}
    state["rng"] = {**state["rng"], "torch": state["rng"]["torch"].tolist()}
    return state, read_metrics(root / "run" / "metrics.jsonl", time=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("whole")
    assert search(root).count == BUDGET
    return final(root)


@pytest.mark.parametrize("number", [0, 3, BUDGET - 1])
def test_stopped_by_a_signal_it_ends_with_the_same_bits(tmp_path: Path, whole: Any, number: int) -> None:
    """In the last step too, which leaves nothing to do."""
    with pytest.raises(Interrupted, match="SIGTERM"):
        search(tmp_path, lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == number else None)
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps[-1] == number + 1
    torch.rand(5)  # what another program draws in between must not matter
    search(tmp_path)
    assert final(tmp_path) == whole


@pytest.mark.parametrize("number", [0, 5, 6])
def test_killed_it_ends_with_the_same_bits(tmp_path: Path, whole: Any, number: int) -> None:
    """Twice over, so that a resumed one is killed as well."""
    for at in (number, number + 3):
        kill = lambda step, at=at: os.kill(os.getpid(), signal.SIGKILL) if step == at else None  # noqa: E731
        assert ended(fork(lambda kill=kill: search(tmp_path, kill) and None)) == -signal.SIGKILL
    search(tmp_path)
    assert final(tmp_path) == whole


def test_the_comparison_can_fail(tmp_path: Path, whole: Any) -> None:
    """Without the searcher's own generator a resumed search ends elsewhere."""
    with pytest.raises(Interrupted):
        search(tmp_path, lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 3 else None)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    state = checkpoints.load(4)
    checkpoints.save(4, state | {"rng of walk": [3, list(random.Random(8).getstate()[1]), None]})
    search(tmp_path)
    assert final(tmp_path) != whole


def test_in_memory_the_best_state_is_kept_as_a_copy() -> None:
    with Session("walk") as session:
        assert not session.resume(lambda state: pytest.fail("there is nothing to load"))
        state = {"x": torch.zeros(2)}
        for step, best in ((1, True), (2, False)):
            session.step = step
            state["x"].fill_(step)
            session.save(lambda: state, best=best)
        assert not session.log_due and session.log is None
    best = session.best()
    assert best is not None and best["x"].tolist() == [1, 1]


def test_seconds_are_added_up_over_resumptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now: Iterator[float] = iter(float(i) for i in range(100))
    monkeypatch.setattr("supernet.runs.session.time.monotonic", lambda: next(now))
    seconds = []
    for step in (1, 2):
        with folder(tmp_path) as run, Session("walk", run=run) as session:
            session.resume(lambda state: None)
            session.step = step
            session.save(dict)
        seconds.append(session.seconds)
    assert seconds == [2, 3], "the first saves at second 1 of its 2, and the second adds its own 2"


def test_numbers_that_are_not_finite_leave_a_report(tmp_path: Path) -> None:

    def fail() -> None:
        with folder(tmp_path) as run, Session("walk", run=run) as session:
            session.resume(lambda state: None)
            session.step = 3
            session.save(dict)
            raise NumbersError("no number", {"what": 1})

    with pytest.raises(NumbersError, match=r"no number; the last good checkpoint is of step 3; .*nan_report.json"):
        fail()
    report = json.loads((tmp_path / "run" / "nan_report.json").read_text())
    assert report == {"stage": "walk", "what": 1, "last_checkpoint": 3}


def test_the_progress_line_of_a_loop_without_epochs() -> None:
    out = io.StringIO()
    clock = iter(float(i) for i in range(10))
    with Progress(None, 4, every=2, stream=out, clock=lambda: next(clock)) as progress:
        for step in range(1, 5):
            progress.update(1, step, {"best": 0.5})
    assert out.getvalue() == "step 1/4  best 0.500\nstep 2/4  best 0.500  left 2s\nstep 4/4  best 0.500  left 0s\n"
