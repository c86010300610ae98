"""One process a run folder: `.lock` in it is held with flock, which the system gives back however a process ends.

The file says who holds it (pid, host, when that process began), for the message of whoever comes second. It stays
when the lock is given back, empty. Some network file systems know no flock: there a folder `.lock-held` with that
file in it is the lock, made by a rename that only one process can make, and one whose process is gone is moved away.
Of a process on another host nobody here can tell whether it lives; so the message then says what to remove.
"""

import contextlib
import errno
import json
import os
import platform
import shutil
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NotRequired, Self, TypedDict, TypeGuard

from .. import files
from ..errors import SupernetError

try:
    fcntl: ModuleType | None = import_module("fcntl")
except ImportError:  # Windows
    fcntl = None

__all__ = ["RunLock", "in_use"]

NAME, HELD, OWNER = ".lock", ".lock-held", "owner.json"
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_MOST = 10_000  # bytes of the file that are read


class RunLock:
    """The lock of one folder, which must exist; a context manager."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self._handle: int | None = None  # of the file, where flock holds it
        self._made = False  # the folder .lock-held is ours
        self._record = b""

    def acquire(self) -> None:
        """Takes the lock, from a dead process too; raises SupernetError, naming who has it, where it is taken."""
        self._record = _me()
        while self._handle is None and not self._made:
            handle = files.open_own(self.path, os.O_RDWR | os.O_CREAT)
            try:
                held = _flock(handle)
                if held and self._is(handle):  # else the folder was moved aside in between
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, self._record, 0)
                    self._handle, handle = handle, -1
            finally:
                if handle >= 0:
                    os.close(handle)
            if held is None:
                self._make()
            elif not held:
                raise SupernetError(self._refusal(self.path))
        _HELD.add(self)

    def release(self) -> None:
        """Gives the lock back; does nothing where it is not held."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # a full or vanished disk; closing gives the lock back all the same
                os.ftruncate(self._handle, 0)
            self._forget()
        elif self._made:
            if _read(self.folder / HELD / OWNER) == self._record:  # else the folder was moved aside
                shutil.rmtree(self.folder / HELD, ignore_errors=True)
            self._forget()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _forget(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle, self._made = None, False
        _HELD.discard(self)

    def _is(self, handle: int) -> bool:
        """Whether the open file is still the one that the path names."""
        try:
            return os.path.samestat(os.fstat(handle), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _make(self) -> None:
        """Makes the folder that is the lock, after that of a dead process is gone; raises SupernetError if taken."""
        lock, aside = self.folder / HELD, self.folder / f".tmp-{os.getpid()}-{time.monotonic_ns()}{HELD}"
        files.refuse_links(lock, itself=True)
        record = _read(lock / OWNER)
        if lock.exists():
            if _alive(record):
                raise SupernetError(self._refusal(lock / OWNER))
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                lock.rename(aside)
            if _read(aside / OWNER) not in (record, b""):  # not what was judged above, so it is not ours to remove
                with contextlib.suppress(OSError):
                    aside.rename(lock)
            shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        (aside / OWNER).write_bytes(self._record)
        try:
            aside.rename(lock)
            self._made = True
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise

    def _refusal(self, owner: Path) -> str:
        """One line on who has the lock; whoever has just taken it needs a moment to write its name."""
        text = _read(owner)
        for _ in range(20):
            if _alive(text):
                break
            time.sleep(0.005)
            text = _read(owner)
        holder = _parse(text)
        who = "process {pid} on {host}, at work since {began}".format(**holder) if holder else "another process"
        way_out = "wait for it or stop it; another run.name keeps both"
        if holder and holder["host"] != platform.node():
            way_out += f"; if it is gone, remove {owner.parent if owner.name == OWNER else owner}"
        return f"the run folder {self.folder} is in use by {who}; {way_out}"


def in_use(folder: str | os.PathLike[str]) -> bool:
    """Whether a process that may still run has noted itself in the lock of `folder`; takes and changes nothing."""
    path = Path(folder)
    return _alive(_read(path / NAME)) or _alive(_read(path / HELD / OWNER))


# A lock of flock is shared with forked children (workers that read data), which may outlive a killed parent.
_HELD: set[RunLock] = set()


def _after_fork() -> None:
    for lock in list(_HELD):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _flock(handle: int) -> bool | None:
    """Whether flock gave the lock; None where the file system, or the whole system, has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _NO_FLOCK:
            return None
        raise
    return True


def _me() -> bytes:
    pid, began = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %z")
    return json.dumps({"pid": pid, "host": platform.node(), "began": began, "ticks": _ticks(pid)}).encode()


def _read(path: Path) -> bytes:
    try:
        return files.read_bytes(path, _MOST, links=False)
    except (OSError, SupernetError):
        return b""


class _Owner(TypedDict):
    """Who holds the lock; `ticks` is None where the system does not say when a process began."""

    pid: int
    host: str
    began: str
    ticks: NotRequired[int | None]


def _is_owner(value: object) -> TypeGuard[_Owner]:
    return isinstance(value, dict) and isinstance(value.get("pid"), int) and {"host", "began"} <= value.keys()


def _parse(text: bytes) -> _Owner | None:
    """What `_me` wrote; None for anything else, an empty file above all."""
    try:
        owner = json.loads(text)
    except ValueError:
        return None
    return owner if _is_owner(owner) else None


def _alive(text: bytes) -> bool:
    """Whether the process that wrote this may still run; one of another host may."""
    owner = _parse(text)
    if owner is None:
        return False
    if owner["host"] != platform.node():
        return True
    try:
        os.kill(owner["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists and belongs to someone else
        return True
    return owner.get("ticks") in (None, _ticks(owner["pid"]))  # else the number was given to another process since


def _ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did (Linux), to tell it from a later one of its number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
