"""The log of a run: valid rows that never double back, TensorBoard likewise, and the progress line."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from supernet.config import LogConfig
from supernet.errors import SupernetError
from supernet.runs.log import RunLog, read_metrics
from supernet.runs.progress import Progress, duration

QUIET = LogConfig(tensorboard=False)


def _strict(text: str) -> object:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_rows(tmp_path: Path) -> None:
    clock = iter([100.0, 101.5]).__next__
    with RunLog(tmp_path, QUIET, clock=clock) as log:
        values = {
            "loss": torch.tensor(0.5),
            "acc": np.float32(0.25),
            "bad": float("nan"),
            "worse": -float("inf"),
            "n": 3,
        }
        log.scalars(7, values, epoch=1, timing={"images_per_second": 12.5})
        with pytest.raises(SupernetError, match="'step'"):
            log.scalars(8, {"step": 1})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert _strict(line) == {
        "stage": "search", "step": 7, "epoch": 1, "loss": 0.5, "acc": 0.25, "bad": "NaN", "worse": "-Infinity", "n": 3,
        "time": {"unix": 101.5, "elapsed": 1.5, "images_per_second": 12.5},
    }  # fmt: skip
    assert not (tmp_path / "tensorboard").exists()


def test_equal_runs_have_equal_rows_but_for_the_clock(tmp_path: Path) -> None:
    for name, start in (("a", 0.0), ("b", 5.0)):
        with RunLog(tmp_path / name, QUIET, clock=iter(np.arange(start, start + 9).tolist()).__next__) as log:
            for step in range(3):
                log.scalars(step, {"loss": 1 / (step + 1)}, timing={"rate": start})
    a, b = tmp_path / "a" / "metrics.jsonl", tmp_path / "b" / "metrics.jsonl"
    assert read_metrics(a) != read_metrics(b) and read_metrics(a, time=False) == read_metrics(b, time=False)


@pytest.mark.parametrize(("resume", "kept"), [(None, []), (0, [0]), (4, [0, 1, 2, 3, 4]), (99, list(range(10)))])
def test_rows_beyond_the_checkpoint_are_cut(tmp_path: Path, resume: int | None, kept: list[int]) -> None:
    with RunLog(tmp_path, QUIET) as log:
        for step in range(10):
            log.scalars(step, {"loss": 0.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "lo')  # a write that a power cut tore
    with RunLog(tmp_path, QUIET, resume) as log:
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == kept
        log.scalars(50, {"loss": 0.0})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [*kept, 50]


def _read(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.mark.parametrize("resume", [None, 5])
def test_tensorboard_does_not_double_back(tmp_path: Path, resume: int | None) -> None:
    with RunLog(tmp_path, LogConfig()) as log:
        for step in range(10):
            log.scalars(step, {"train/loss": float(step), "name": "text"})
    start = 0 if resume is None else resume + 1
    with RunLog(tmp_path, LogConfig(), resume) as log:
        for step in range(start, 12):
            log.scalars(step, {"train/loss": 100.0 + step})
    expected = [(step, float(step if step < start else 100 + step)) for step in range(12)]
    assert _read(tmp_path, "train/loss") == expected


def test_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, LogConfig()) as log:
        log.figure(3, "cell/normal", Figure(figsize=(2, 1), dpi=50))
        log.flush()
    log.close()  # a second time does nothing
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (image,) = events.Images("cell/normal")
    assert (image.step, image.width, image.height) == (3, 100, 50)
    with RunLog(tmp_path / "quiet", QUIET) as log:
        log.figure(3, "cell", Figure())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _clock(step: float) -> Callable[[], float]:
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += step
        return now

    return tick


def test_plain_progress_lines() -> None:
    out = io.StringIO()
    with Progress(2, 25, every=10, stream=out, clock=_clock(0.5)) as progress:
        for epoch in (1, 2):
            for step in range(1, 26):
                progress.update(epoch, step, {"loss": 1.2344, "acc": 0.5671}, images=8)
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"step {n}/25" for n in (1, 10, 20, 25, 10, 20, 25)]
    assert lines[2] == "epoch 1/2  step 20/25  loss 1.234  acc 56.7 %  16.0 img/s  left 15s"
    assert lines[-1].endswith("left 0s") and "\x1b" not in out.getvalue() and "\r" not in out.getvalue()


def test_values_are_asked_for_only_when_shown() -> None:
    asked = 0

    def values() -> dict[str, float]:
        nonlocal asked
        asked += 1
        return {}

    progress = Progress(1, 30, every=10, stream=io.StringIO(), clock=_clock(1.0))
    for step in range(1, 31):
        progress.update(1, step, values)
    assert asked == 4


@pytest.mark.parametrize("colour", [True, False])
def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    out = _Terminal()
    with Progress(1, 20, stream=out, clock=_clock(0.06)) as progress:
        for step in range(1, 21):
            progress.update(1, step, {"loss": 1e-5, "alpha_entropy": 2.0})
        progress.message("saved")
    text = out.getvalue()
    assert ("\x1b[" in text) is colour
    shown = [part for part in text.replace("\x1b[36m", "").replace("\x1b[0m", "").split("\r") if part.strip()]
    assert all(len(line) <= 49 for line in shown[:-1])
    assert [line.split("  ")[1] for line in shown[:-1]] == [f"step {n}/20" for n in [*range(1, 21, 2), 20]]  # for 0.1 s
    assert shown[4].endswith("left 1s") and shown[-1] == "saved\n"


def test_progress_can_be_off() -> None:
    out = io.StringIO()
    with Progress(1, 1, enabled=False, stream=out) as progress:
        progress.update(1, 1, {"loss": 1.0})
        progress.message("x")
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (80, "1m20s"), (7500, "2h05m"), (273600, "3d04h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
