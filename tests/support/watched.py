"""Runs cases in a fork that is watched: processor time, memory, what is raised, and that nothing is executed.

A case may be accepted or refused with SupernetError in one line. Everything else is a failure with the case's name: any
other exception, more than 2 s or 200 MB, and whatever the audit hook sees: a process, a socket, a file opened for
writing, a directory, a link, an import or code that was not there before the first case.
"""

import json
import os
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from supernet.errors import SupernetError
from tests.support.forked import ended, fork

__all__ = ["Accepts", "watch", "watchable"]

Accepts = Callable[[Any], None]  # raises SupernetError for what it refuses
MOST_SECONDS = 2.0  # of the processor
MOST_MEMORY = 200 << 20
MOST_ADDRESSES = 2 << 30  # a fence behind the limit above: what asks for more at once gets a MemoryError
LONGEST = 600  # characters of a message

# Events of sys.audit (docs.python.org/3/library/audit_events.html) that no reading of a file or of settings has.
_NEVER = re.compile(
    r"os\.(system|exec|posix_spawn|spawn|fork|forkpty|startfile|kill|killpg|chdir|fchdir|mkdir|rmdir|"
    r"remove|rename|link|symlink|chmod|chown|truncate|setxattr|removexattr)|subprocess\.Popen|pty\.spawn|"
    r"(socket|ftplib|http|urllib|smtplib|ssl|shutil|tempfile|webbrowser|mmap|fcntl|ctypes|sqlite3|gc|syslog)\..+|"
    r"pickle\.find_class|builtins\.input|exec|compile|code\.__new__|cpython\.run_.+|sys\.(settrace|setprofile|unraisablehook)"
)


class _TooLongError(BaseException):
    """Past `except Exception`."""


class _Watch:
    """The audit hook; it sees and stops while it is armed."""

    def __init__(self) -> None:
        self.armed, self.seen = False, ""

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "open":
            _path, mode, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if not writes and not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
        elif event == "import":
            if args[0] in sys.modules:
                return
        elif not _NEVER.fullmatch(event):
            return
        self.seen = self.seen or f"{event} {str(args)[:200]}"
        raise RuntimeError(f"not while a hostile case is read: {event}")


def _memory(key: str) -> int:
    """A size of this process in bytes: VmRSS, or VmHWM, the largest since the last reset."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) << 10  # type: ignore[index]


def watchable() -> bool:
    """Whether this system tells the largest memory since a moment: Linux does, some sandboxes do not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _memory("VmHWM") > 0 and _memory("VmSize") > 0
    except (OSError, TypeError):
        return False


def _too_long(*_: object) -> None:
    raise _TooLongError


def _taken(accepts: Accepts, given: Any, hook: _Watch, most: float) -> dict[str, Any]:
    """How a case was taken: its "fault", "" where it has none, whether it was "accepted", its "seconds" and "bytes"."""
    fault, accepted, hook.seen = "", False, ""
    environment = dict(os.environ)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before, begun = _memory("VmRSS"), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 1.25 * most)
    hook.armed = True
    try:
        accepts(given)
        accepted = True
    except SupernetError as error:
        message = str(error)
        if not 0 < len(message) <= LONGEST or len(message.splitlines()) != 1 or not message.isprintable():
            fault = f"a message that is not one line of at most {LONGEST} characters: {message[:200]!r}"
    except _TooLongError:
        fault = "it did not end"
    except BaseException as error:
        fault = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        hook.armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, grown = time.process_time() - begun, _memory("VmHWM") - before
    if hook.seen:
        fault = f"executed or touched: {hook.seen}"
    elif not fault and dict(os.environ) != environment:
        fault = "it changed the environment"
    elif not fault and seconds > most:
        fault = f"{seconds:.1f} s of the processor"
    elif not fault and grown > MOST_MEMORY:
        fault = f"{grown >> 20} MB"
    return {"fault": fault, "accepted": accepted, "seconds": round(seconds, 3), "bytes": grown}


def _run(
    accepts: Accepts, cases: Iterable[tuple[str, Any]], good: Iterable[Any], folder: Path, log: Path, seconds: float
) -> None:
    warnings.simplefilter("ignore")  # a warning is no fault of a case
    os.chdir(folder)
    for given in good:  # what is imported and built once does not belong to the first hostile case
        accepts(given)
    limit = _memory("VmSize") + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, _too_long)
    hook = _Watch()
    sys.addaudithook(hook)
    with log.open("w", encoding="utf-8") as file:
        for name, given in cases:
            file.write(json.dumps({"name": name}) + "\n")
            file.flush()
            file.write(json.dumps(_taken(accepts, given, hook, seconds)) + "\n")
            file.flush()


def watch(
    accepts: Accepts, cases: Iterable[tuple[str, Any]], good: Iterable[Any], folder: Path, seconds: float = MOST_SECONDS
) -> tuple[int, int, dict[str, str]]:
    """(cases run, of which accepted, name -> fault) of the named `cases`; the `good` ones before must be accepted.

    `folder` is empty, becomes the working folder, and must stay empty; the log stands beside it.
    """
    log = folder.with_suffix(".log")
    code = ended(fork(lambda: _run(accepts, cases, good, folder, log, seconds)))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    names, ends = [one["name"] for one in lines[::2]], lines[1::2]
    faults = {name: end["fault"] for name, end in zip(names, ends, strict=False) if end["fault"]}
    if code:
        faults[names[-1] if names else "a good case"] = f"the process ended with {code}"
    if left := sorted(os.listdir(folder)):
        faults["all"] = f"left behind: {left[:5]}"
    return len(ends), sum(end["accepted"] for end in ends), faults
