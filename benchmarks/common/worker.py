"""A formulation in a process of its own (serve.py), from the side of who asks. It does not load torch."""

import json
import os
import select
import signal
import statistics
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from benchmarks.common.checkouts import environment, program_of_worker
from supernet.errors import SupernetError

__all__ = ["WARM_UP", "Failure", "Worker", "take_turns"]

SCRIPT = Path(__file__).resolve().with_name("serve.py")
WARM_UP = 2  # runs: the first makes buffers and optimiser states and compiles, the second runs with them


class Failure(SupernetError):
    """A formulation that cannot be measured; the text says why."""


class Worker:
    """A process that runs one formulation when asked: of this checkout, or of another one that is named."""

    def __init__(self, settings: dict[str, Any], checkout: Path | None = None) -> None:
        self.name: str = settings["name"]
        python, script = (sys.executable, SCRIPT) if checkout is None else program_of_worker(checkout)
        self.process = subprocess.Popen(
            [python, str(script), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # torch.compile has processes of its own, which must end with this one
            env=environment(settings["threads"], checkout),
        )
        self.facts: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.first = 0.0
        self.seconds: list[float] = []
        self.failure: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.__exit__(None, None, None)  # closes its pipes and waits for its end

    def wait(self, limit: float) -> None:
        """Until it has loaded its libraries and built its network; Failure where that takes over `limit` seconds."""
        self.facts = self._hear(limit)

    def run(self, limit: float | None = None) -> float:
        """Seconds of one more run; Failure where it takes over `limit` seconds."""
        return float(self._ask("run", limit)["seconds"])

    def warm_up(self, limit: float) -> None:
        """The first runs, whose memory does not count."""
        self.first = self.run(limit)
        for _ in range(WARM_UP - 1):
            self.run(limit)
        self._ask("warm", limit)

    def finish(self, limit: float) -> None:
        """Ends the process, which tells its memory last."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.memory = self._hear(limit)

    def result(self, slow: float) -> dict[str, Any]:
        """What was measured, as plain values, beside a formulation that takes `slow` seconds."""
        if self.failure is not None:
            return {"name": self.name, "error": self.failure}
        median = statistics.median(self.seconds)
        times = {"first": self.first, "seconds": self.seconds, "median": median, "speed_up": slow / median}
        return {"name": self.name, **times, **self.memory, "parameters": self.facts["parameters"]}

    def _ask(self, what: str, limit: float | None) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; what it said last tells more
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        return self._hear(limit)

    def _hear(self, limit: float | None) -> dict[str, Any]:
        """The next line. It answers once a question, so no second line waits in the buffer, which select cannot see."""
        out = self.process.stdout
        assert out is not None
        if limit is not None and not select.select([out], [], [], limit)[0]:
            raise Failure(f"not finished in {limit:.0f} s")
        line = out.readline()
        message = json.loads(line) if line else {"error": "ended without an answer; its message is above"}
        if "error" in message:
            raise Failure(message["error"])
        return dict(message)


def take_turns(settings: dict[str, Any], names: list[str], repeats: int, limit: float) -> tuple[Any, list[Any]]:
    """(hardware, a result for each of `names`); the first is what the others are compared with.

    After the warm-up all run in turn, so that a busy moment of the machine falls on all of them. One that fails, or
    takes over `limit` seconds for an answer, has its "error" for a result; raises Failure where that is the first.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker({"name": name} | settings)) for name in names]
        for worker in workers:
            _try(worker, worker.wait, limit)
        for worker in workers:
            _try(worker, worker.warm_up, limit)
        for _ in range(repeats):
            for worker in workers:
                _try(worker, lambda worker=worker: worker.seconds.append(worker.run(limit)))
        for worker in workers:
            _try(worker, worker.finish, limit)
        first = workers[0]
        if first.failure is not None:
            raise Failure(f"{first.name}: {first.failure}")
        slow = statistics.median(first.seconds)
        return first.facts["hardware"], [worker.result(slow) for worker in workers]


def _try(worker: Worker, work: Any, *arguments: Any) -> None:
    """Does `work` unless the worker has failed before; a failure is kept, and its process ends."""
    if worker.failure is not None:
        return
    try:
        work(*arguments)
    except Failure as failure:
        worker.failure = str(failure)
        worker.__exit__()
