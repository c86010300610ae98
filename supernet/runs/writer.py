"""Writing in the background: one job at a time in a thread, and files that are digested as they are written."""

import hashlib
import threading
from collections.abc import Callable
from typing import BinaryIO

__all__ = ["DigestingFile", "Writer"]


class Writer:
    """Runs jobs in a thread, at most one at a time; the error of a job is raised by the next `start` or `wait`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begins `job` after waiting for the one before it."""
        self.wait()
        # No daemon: the interpreter's end waits for it, so that the last checkpoint of a run that ends is not lost.
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint-writer")
        self._thread.start()

    def settle(self) -> None:
        """Until nothing is being written; an error stays for `wait`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Until nothing is being written; raises what ended the last job, once."""
        self.settle()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error


class DigestingFile:
    """A file being written whose bytes are counted and digested on their way, so that they need not be read for it."""

    def __init__(self, file: BinaryIO, begun: Callable[[], None]) -> None:
        """`begun` is called once, when the first bytes are in the file and more are to come."""
        self._file, self._begun = file, begun
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Takes whatever has the buffer interface; the number of bytes."""
        first, count = self.size == 0, memoryview(data).nbytes
        self._file.write(data)
        self._sha256.update(data)
        self.size += count
        if first:
            self._file.flush()
            self._begun()
        return count

    def flush(self) -> None:
        self._file.flush()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()
