"""From exceptions to exit codes: a mistake is one line on stderr, an unexpected error keeps its traceback."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor

from ..errors import StoppedError, SupernetError, short
from ..files import disk_full
from ..runs.signals import Interrupted

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "guarded", "one_line"]

FAILED, USAGE, INTERRUPTED, PIPE = 1, 2, 130, 141
MOST = 500  # characters of an error line
_NO_ROOM = ("failed to map segment", "cannot allocate memory")  # as the system's loader says it
_KILLED = (
    "a process of the sweep was killed, often for want of memory, and the sweep ended with it; the same command goes "
    "on from the last checkpoints, hydra.launcher.n_jobs=N runs fewer at a time"
)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, with its exceptions turned into one line and a code."""
    try:
        code = work()
        sys.stdout.flush()  # here, where a closed pipe is caught, and not at the interpreter's end
        return code
    except StoppedError as error:
        return _say(f"error: {error}", FAILED)
    except SupernetError as error:
        return _say(f"error: {error}", USAGE)
    except BrokenPipeError:
        _silence_stdout()
        return PIPE
    except OSError as error:
        return _say(f"error: {_of_system(error)}", FAILED)
    except Interrupted as error:
        return _say("interrupted; the same command goes on", error.code)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from the last checkpoint", INTERRUPTED)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED if error.code else 0
    except BrokenExecutor:
        return _say(f"error: {_KILLED}", FAILED)
    except Exception as error:
        if place := _not_loaded(error):
            return _say(f"error: {place}", FAILED)
        if cause := disk_full(error, also=(errno.EROFS,)):
            return _say(f"error: {_of_system(cause)}", FAILED)
        traceback.print_exc()
        return FAILED


def _not_loaded(error: BaseException | None) -> str | None:
    """A library that the memory had no room for, in words; None where `error` is no such thing."""
    while error is not None:
        if isinstance(error, ImportError) and any(text in str(error).lower() for text in _NO_ROOM):
            library = str(error).partition(":")[0].rpartition("/")[2]
            return f"no memory to load {library}; this process may use more address space where ulimit -v is raised"
        if isinstance(error, MemoryError):
            return "out of memory; this process may use more address space where ulimit -v is raised"
        error = error.__cause__ or error.__context__
    return None


def one_line(text: object, most: int = MOST) -> str:
    """`text` in one printable line of at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in str(text)).split())
    return short(line, most)


def _say(text: str, code: int) -> int:
    print(one_line(text), file=sys.stderr, flush=True)
    return code


def _of_system(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _silence_stdout() -> None:
    """What is still buffered goes nowhere, so that the interpreter's last flush does not complain."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor needs none of this
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
