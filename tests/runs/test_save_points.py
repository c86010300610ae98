"""The background save: cut off at each point of its protocol, on a full disk, beside a training that goes on."""

import errno
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet import files
from supernet.config import SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.runs.checkpoint import POINTS, Checkpoints
from supernet.runs.state import rng_state, set_rng_state, snapshot
from supernet.runs.writer import Writer
from supernet.stages.run_search import Searched, run_search
from tests.support.forked import ended, fork

STEPS = 9


def train(folder: Path, at: Callable[[str], None] = lambda point: None) -> Tensor:
    """A small training that draws from two generators, changes its state in place and is saved after each step."""
    checkpoints = Checkpoints(folder, at=at)
    found = checkpoints.latest()
    begun, state = found or (0, {"x": torch.zeros(2000)})
    torch.manual_seed(0)
    random.seed(0)
    if found:
        set_rng_state(state["rng"])
    x: Tensor = state["x"]
    for step in range(begun + 1, STEPS + 1):
        x.mul_(0.9).add_(torch.rand(2000), alpha=random.random())
        checkpoints.save_later(step, {"x": x, "rng": rng_state()}, best=step % 4 == 0)
    checkpoints.wait()
    return x


def kill_at(point: str, folder: Path) -> tuple[int, list[int]]:
    """The exit status of a training that is killed when its sixth save is at `point`; the saves the injector hit."""
    reading, writing = os.pipe()
    saves = 0

    def at(reached: str) -> None:
        nonlocal saves
        saves += reached == POINTS[0]
        if reached == point and saves >= 6:
            os.write(writing, bytes([saves]))
            os.kill(os.getpid(), signal.SIGKILL)

    status = ended(fork(lambda: train(folder, at) and None))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return status, list(pipe.read())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return train(tmp_path_factory.mktemp("whole"))


def test_a_kill_at_each_point_of_a_save(tmp_path: Path, whole: Tensor, promise: Any) -> None:
    recovered = 0
    for i, point in enumerate(POINTS):
        folder = tmp_path / str(i)
        status, hit = kill_at(point, folder)
        assert (status, len(hit)) == (-signal.SIGKILL, 1), point
        tmp = [path for path in folder.iterdir() if path.name.startswith(".tmp-")]
        assert bool(tmp) == (point not in ("before write", "after replace")), "the kill came elsewhere"
        (save,) = hit
        last = Checkpoints(folder).latest()
        assert last is not None
        assert last[0] == (save - 1 if i < POINTS.index("after replace") else save), point
        assert torch.equal(train(folder), whole), point
        assert not [path for path in folder.iterdir() if path.name.startswith(".tmp-")]
        recovered += 1
    assert recovered == 6
    promise("SIGKILL at each point of a save, resume: bitwise equal", f"{recovered}/6")


class Gate:
    """Holds a save at its beginning until it is opened."""

    def __init__(self) -> None:
        self.open, self.reached = threading.Event(), threading.Event()

    def __call__(self, point: str) -> None:
        if point == POINTS[0]:
            self.reached.set()
            assert self.open.wait(30)


def test_training_does_not_wait_for_the_disk_and_does_not_change_what_is_saved(tmp_path: Path) -> None:
    gate = Gate()
    checkpoints = Checkpoints(tmp_path, at=gate)
    x, inner = torch.ones(1000), [1, 2]
    checkpoints.save_later(1, {"x": x, "list": inner})
    assert gate.reached.wait(30)
    x.zero_()
    inner.append(3)
    assert not list(tmp_path.glob("step-*"))
    gate.open.set()
    checkpoints.wait()
    state = checkpoints.load(1)
    assert torch.equal(state["x"], torch.ones(1000)) and state["list"] == [1, 2]


def test_one_save_is_in_flight_at_most(tmp_path: Path) -> None:
    gate, order = Gate(), []
    checkpoints = Checkpoints(tmp_path, at=gate)
    checkpoints.save_later(1, {"x": 1})
    assert gate.reached.wait(30)
    second = threading.Thread(target=lambda: (checkpoints.save_later(2, {"x": 2}), order.append("second began")))
    second.start()
    second.join(0.1)
    order.append("first let go")
    gate.open.set()
    second.join(30)
    assert order == ["first let go", "second began"]
    assert checkpoints.latest() == (2, {"x": 2}), "a reader waits for what is in flight"


@pytest.mark.parametrize("way", ["save", "save_later", "wait"])
def test_an_error_of_the_background_surfaces_once(tmp_path: Path, way: str) -> None:
    def at(point: str) -> None:
        if point == "after fsync":
            raise PermissionError(errno.EACCES, "not allowed")

    checkpoints = Checkpoints(tmp_path, at=at)
    checkpoints.save_later(1, {"x": 1})
    checkpoints._writer.settle()
    with pytest.raises(PermissionError, match="not allowed"):
        checkpoints.wait() if way == "wait" else getattr(checkpoints, way)(2, {"x": 2})
    checkpoints.wait()
    assert list(tmp_path.iterdir()) == []


def test_closing_hides_no_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def at(point: str) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    checkpoints = Checkpoints(tmp_path, at=at)
    checkpoints.save_later(1, {"x": 1})
    checkpoints.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "not allowed" in caplog.text


@pytest.mark.parametrize("point", POINTS[:4])
def test_a_full_disk_is_one_warning_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, point: str
) -> None:
    full = False

    def at(reached: str) -> None:
        if full and reached == point:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoints = Checkpoints(tmp_path, at=at)
    checkpoints.save_later(1, {"x": 1})
    for _ in range(2):
        checkpoints.wait()
        caplog.clear()
        full = True
        for step in (2, 3, 4):
            checkpoints.save_later(step, {"x": step})
        assert checkpoints.latest() == (1, {"x": 1}) and len(list(tmp_path.iterdir())) == 1
        (record,) = caplog.records
        assert record.levelname == "WARNING" and "No space left on device" in record.message
        assert "step 2" in record.message and "goes on" in record.message
        full = False
        checkpoints.save_later(1, {"x": 1})  # room again: the failure is made up for, and `wait` is content
    full = True
    checkpoints.save_later(5, {"x": 5})
    with pytest.raises(OSError, match="checkpoint of step 5 could not be saved, the newest one is of step 1") as caught:
        checkpoints.wait()
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path)
    checkpoints.wait()


def test_a_search_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Six steps, each saved: saves that fail on the way cost nothing but themselves, the last one is made up for."""
    full = {2, 3}
    fill = Checkpoints._fill

    def filled(self: Checkpoints, aside: Path, step: int, *rest: Any) -> str:
        if step in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fill(self, aside, step, *rest)

    def search(name: str) -> Searched:
        values = {
            "epochs": 2,
            "batch_size": 10,
            "data": {"limit": 72},
            "space": {"name": "darts", "args": {"nodes": 2}},
            "network": {"channels": 2, "layers": 3},
            "checkpoint": {"every_steps": 1},
            "log": {"progress": False, "tensorboard": False},
            "run": {"root": str(tmp_path), "name": name},
        }
        return run_search(from_mapping(SearchConfig, values))

    monkeypatch.setattr(Checkpoints, "_fill", filled)
    whole = search("a")
    assert whole.done and [r.message for r in caplog.records if "No space left" in r.message] == [
        "No space left on device: the checkpoint of step 2 was not saved; the earlier ones stay good and the run goes "
        "on, next try at the next save"
    ]
    full = {6}
    with pytest.raises(OSError, match="step 6 could not be saved, the newest one is of step 5"):
        search("b")
    full = set()
    rest = search("b")
    assert rest.done and rest.genotype == whole.genotype


def test_a_disk_without_room(tmp_path: Path, promise: Any) -> None:
    """The system refuses to write beyond a size, which no injection into the code can imitate: 20 sizes, one file."""
    state = {"x": torch.randn(12_000)}
    size = (Checkpoints(tmp_path / "whole").save(1, state) / "state.pt").stat().st_size
    trials = [(tmp_path / str(i), i * size // 20) for i in range(20)]

    def work() -> None:
        for folder, limit in trials:
            checkpoints = Checkpoints(folder)
            checkpoints.save(1, state)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            checkpoints.save_later(2, {"x": state["x"] + 1})
            with pytest.raises(OSError, match="step 2 could not be saved, the newest one is of step 1"):
                checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert ended(fork(work)) == 0
    good = 0
    for folder, _ in trials:
        found = Checkpoints(folder).latest()
        good += found is not None and found[0] == 1 and torch.equal(found[1]["x"], state["x"])
        assert [path.name for path in folder.iterdir()] == [path.name for path in folder.glob("step-00000001-????????")]
    assert good == 20
    promise("disk full during a save, the checkpoint before it loads", f"{good}/20")


def test_what_reads_back_otherwise_replaces_nothing(tmp_path: Path) -> None:
    damaging = False

    def at(point: str) -> None:
        if damaging and point == "after fsync":
            (path,) = tmp_path.glob(".tmp-*/state.pt")
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    checkpoints = Checkpoints(tmp_path, at=at)
    for step in (1, 2):
        checkpoints.save(step, {"x": step})
    damaging = True
    checkpoints.save_later(3, {"x": 3})
    with pytest.raises(SupernetError, match="has changed since it was written"):
        checkpoints.wait()
    assert checkpoints.steps == [1, 2] and len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_flushed_before_anything_relies_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    flush = files.sync_folder
    monkeypatch.setattr(files, "sync_folder", lambda path: (events.append(Path(path).name[:4]), flush(path)))
    checkpoints = Checkpoints(tmp_path / "runs", at=events.append)
    for step in (1, 2):
        checkpoints.save(step, {"x": step})
    events.clear()
    checkpoints.save(3, {"x": 3})
    assert events == [*POINTS[:3], ".tmp", *POINTS[3:5], "runs", POINTS[5]]


def test_a_writer_runs_one_job_at_a_time() -> None:
    writer, order = Writer(), []

    def job(number: int) -> None:
        order.append((number, "begins"))
        time.sleep(0.01)
        order.append((number, "ends"))

    for i in range(3):
        writer.start(partial(job, i))
    writer.wait()
    assert order == [(i, what) for i in range(3) for what in ("begins", "ends")]


def test_what_cannot_be_saved_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match=r"state\['x'\] is a set"):
        Checkpoints(tmp_path / "c").save_later(1, {"x": {1}})
    assert not (tmp_path / "c").exists()


def test_a_snapshot_is_equal_and_apart() -> None:
    weight = torch.nn.Parameter(torch.randn(3, 2))
    state = {
        "w": weight,
        "tied": weight.detach(),
        "t": weight.detach().t(),
        "n": [1, (2.5, None)],
        "empty": torch.empty(0),
    }
    copy: Any = snapshot(state)
    assert torch.equal(copy["w"], weight) and torch.equal(copy["t"], weight.t()) and copy["n"] == state["n"]
    assert not copy["w"].requires_grad
    assert copy["w"] is copy["tied"], "one memory before, one memory after"
    with torch.no_grad():
        weight.zero_()
    assert copy["w"].all() and copy["t"].all()


def test_the_benchmark_of_saving(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root)
    from benchmarks.survival import checkpoint

    tiny = {"channels": 2, "layers": 1, "batch": 2, "size": 8, "threads": 1, "rounds": 3, "block": 2}
    found = checkpoint.measure(checkpoint.parse([*(f"--{k}={v}" for k, v in tiny.items()), f"--folder={tmp_path}"]))
    assert [r["name"] for r in found["results"]] == ["background", "waiting"] and found["bytes"] > 10_000
    for r in found["results"]:
        assert len(r["extra"]) == 3 and r["ratio"] == pytest.approx(r["save"] / (200 * found["step"]))
        assert r["name"] in checkpoint.show(found)
    assert list(tmp_path.iterdir()) == []


def test_the_cost_is_the_difference_of_neighbouring_blocks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 2 steps at 1 s; the machine slows down, and a save takes 3 s and 4 s whatever the pace."""
    monkeypatch.syspath_prepend(root)
    from benchmarks.survival import checkpoint

    options = checkpoint.parse(["--block=2", "--every=100"])
    seconds = {"none": [2.0, 2.0, 9.0], "background": [5.0, 5.0, 12.0], "waiting": [6.0, 6.0, 13.0]}
    found = checkpoint.result(options, seconds, [0.5], 1)
    assert [(r["save"], r["ratio"]) for r in found["results"]] == [(3.0, 0.03), (4.0, 0.04)]
