"""Work in a fork of this process, which may be killed: all is imported already, so a child costs milliseconds."""

import os
import traceback
from collections.abc import Callable

__all__ = ["ended", "fork"]


def fork(work: Callable[[], None]) -> int:
    """Begins `work` in a child and gives its process number; the child ends with it, 1 after an exception, else 0."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # not sys.exit: the tests that are still to come are the parent's


def ended(pid: int) -> int:
    """Waits for the child; its exit status, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
