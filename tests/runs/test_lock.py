"""One process a run folder: who comes second is told who has it, and no lock outlives its process."""

import dataclasses
import errno
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from supernet.config import RunConfig, SearchConfig
from supernet.errors import SupernetError
from supernet.runs import lock
from supernet.runs.folder import RunFolder
from supernet.runs.lock import RunLock


@pytest.fixture(params=["flock", "no flock"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system knows flock."""
    if request.param == "no flock":
        monkeypatch.setattr(lock, "_flock", lambda handle: None)
    return bool(request.param == "flock")


@pytest.fixture
def trials(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(root)
    from benchmarks.survival import trials

    return trials


def child(work: Callable[[], None]) -> int:
    if pid := os.fork():
        return pid
    try:
        work()
    finally:
        os._exit(0)


def races(folder: Path, trials: ModuleType, number: int) -> list[str | None]:
    """What was wrong in each race of two processes, with every kind of lock: None where one won."""
    return [trials.race(folder / str(i), stale=i % 2 == 1, flock=i % 3 < 2) for i in range(number)]


def test_some_races_have_one_winner(tmp_path: Path, trials: ModuleType) -> None:
    assert set(races(tmp_path, trials, 12)) == {None}


@pytest.mark.long
def test_races_have_one_winner(tmp_path: Path, trials: ModuleType, promise: Callable[[str, str], None]) -> None:
    outcomes = races(tmp_path, trials, 50)
    assert [text for text in outcomes if text] == []
    promise("two processes, one run: one refuses", f"{outcomes.count(None)}/50")


def test_a_race_without_a_lock_is_noticed(tmp_path: Path, trials: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunLock, "acquire", lambda self: None)
    assert trials.race(tmp_path) == "2 hold it, 0 are refused, exit codes [0, 0]"


def test_the_second_is_told_who_is_first_and_the_next_gets_it(tmp_path: Path, flock: bool) -> None:
    first = RunLock(tmp_path)
    with first:
        with pytest.raises(SupernetError) as caught:
            RunLock(tmp_path).acquire()
        text = str(caught.value)
        assert f"process {os.getpid()} on {platform.node()}" in text and "\n" not in text and "run.name" in text
        first.acquire()  # it has it: nothing to do
    with RunLock(tmp_path):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {".lock"}, "nothing else is left"
    assert (tmp_path / ".lock").read_bytes() == b""


def test_a_killed_holder_has_no_lock(tmp_path: Path, flock: bool) -> None:
    def hold() -> None:
        RunLock(tmp_path).acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    pid = child(hold)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    record = tmp_path / (".lock" if flock else ".lock-held/owner.json")
    assert json.loads(record.read_text())["pid"] == pid, "the killed process had it"
    with RunLock(tmp_path):
        assert json.loads(record.read_text())["pid"] == os.getpid()


def test_a_living_child_of_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """Such as a worker that reads data: it has the file open too, and notices the death of its parent seconds later."""
    note = tmp_path / "worker"

    def hold() -> None:
        RunLock(tmp_path).acquire()
        worker = child(lambda: time.sleep(30))
        note.write_text(str(worker))
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(child(hold), 0)
    worker = int(note.read_text())
    try:
        os.kill(worker, 0)
        RunLock(tmp_path).acquire()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_child_does_not_give_the_lock_back(tmp_path: Path, flock: bool) -> None:
    with RunLock(tmp_path) as own:
        os.waitpid(child(own.release), 0)
        with pytest.raises(SupernetError, match="in use"):
            RunLock(tmp_path).acquire()


def test_without_flock_another_hosts_process_may_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_flock", lambda handle: None)
    owner = tmp_path / ".lock-held" / "owner.json"
    owner.parent.mkdir()
    record = {"pid": 1, "host": "elsewhere", "began": "today", "ticks": 5}
    owner.write_text(json.dumps(record))
    with pytest.raises(SupernetError, match=r"process 1 on elsewhere.*if it is gone, remove .*\.lock-held$"):
        RunLock(tmp_path).acquire()
    owner.write_text(json.dumps(record | {"host": platform.node(), "pid": os.getpid()}))  # a number given anew
    RunLock(tmp_path).acquire()
    assert json.loads(owner.read_text())["ticks"] not in (None, 5)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": "x"}', '{"pid": 3}', "\x00" * 20])
def test_a_damaged_record_takes_nothing(tmp_path: Path, flock: bool, text: str) -> None:
    (tmp_path / ".lock").write_text(text)
    (tmp_path / ".lock-held").mkdir()
    (tmp_path / ".lock-held" / "owner.json").write_text(text)
    with RunLock(tmp_path), pytest.raises(SupernetError, match=f"process {os.getpid()} on"):
        RunLock(tmp_path).acquire()


def test_errors_of_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(number: int) -> Callable[[int, int], None]:
        def flock(handle: int, how: int) -> None:
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr(lock.fcntl, "flock", failing(errno.ENOLCK))
    with RunLock(tmp_path):
        assert (tmp_path / ".lock-held").is_dir()
    monkeypatch.setattr(lock.fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        RunLock(tmp_path).acquire()
    monkeypatch.setattr(lock, "fcntl", None)
    with RunLock(tmp_path):
        assert (tmp_path / ".lock-held").is_dir()


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(run=RunConfig(root=str(tmp_path), name="a"))


@pytest.fixture
def held(config: SearchConfig) -> Iterator[RunFolder]:
    with RunFolder.open(config, "search", lock=True) as run:
        yield run


def test_a_run_in_use_is_neither_opened_nor_moved_aside(config: SearchConfig, held: RunFolder) -> None:
    fresh = dataclasses.replace(config, run=dataclasses.replace(config.run, fresh=True))
    for other in (config, fresh):
        with pytest.raises(SupernetError, match="in use"):
            RunFolder.open(other, "search", lock=True)
    assert [p.name for p in held.path.parent.iterdir()] == ["a"]
    held.close()
    with RunFolder.open(fresh, "search", lock=True) as run, pytest.raises(SupernetError, match="in use"):
        RunFolder.open(config, "search", lock=True)
    assert sorted(p.name for p in run.path.parent.iterdir()) == ["a", "a.old-1"]


def test_a_finished_run_needs_no_lock(config: SearchConfig, held: RunFolder) -> None:
    held.finish({"accuracy": 1})
    assert RunFolder.open(config, "search", lock=True).result == {"accuracy": 1}


def test_a_refused_run_gives_its_lock_back(config: SearchConfig, held: RunFolder) -> None:
    held.close()
    with pytest.raises(SupernetError, match="another run"):
        RunFolder.open(dataclasses.replace(config, seed=5), "search", lock=True)
    RunFolder.open(config, "search", lock=True).close()


def test_a_folder_moved_aside_between_opening_and_locking(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's run.fresh comes in between: the lock is then that of the new folder, not of the old one."""
    inner, moved = lock._flock, []

    def flock(handle: int) -> bool | None:
        if not moved:
            moved.append(Path(config.run.root, "a").rename(Path(config.run.root, "b")))
        return inner(handle)

    monkeypatch.setattr(lock, "_flock", flock)
    with RunFolder.open(config, "search", lock=True) as run:
        assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid()
        assert (run.path / "config.json").exists()
