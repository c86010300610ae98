"""One trial each of what a run must survive: SIGKILL anywhere, a signal that asks it to stop, two processes at once.

The process that calls these functions has loaded torch and forks a child for each run, so that a trial costs no
imports; it must not have run a backward pass on a machine with a GPU, whose threads no fork survives. The runs are
searches of the smallest size on the embedded digits; their ends are compared bit by bit with an undisturbed run.
"""

import json
import os
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from supernet.cli.exit_codes import guarded
from supernet.config import SearchConfig, from_mapping
from supernet.data.loader import CyclingLoader
from supernet.errors import SupernetError
from supernet.presets import merged, preset
from supernet.runs import lock
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.log import RunLog, read_metrics
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train.loop import Loop
from supernet.train.search import SearchProgram

__all__ = ["PHASES", "Whole", "difference", "impatient", "kill", "race", "signalled"]

LIMIT = 60.0  # seconds after which a child counts as hanging
STEPS = 4  # of a whole run: 34 samples, half of them for the weights, batches of 8, two epochs
# One operation of each kind: nothing, the input itself, fused with weights and norms, and pooling.
OPERATIONS = ["none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"]
LINE = "interrupted; the same command goes on"


def search(root: Path, method: str, every_steps: int = 1) -> int:
    """A search with the preset `method` in the folder `root`/run, as the command line would end it: the exit code."""
    values: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "data": {"limit": 34},
        "space": {"name": "darts", "args": {"nodes": 1, "operations": OPERATIONS}},
        "network": {"channels": 2, "layers": 3},
        "checkpoint": {"every_steps": every_steps},
        "log": {"every": 1, "progress": False, "tensorboard": False},
        "run": {"root": str(root), "name": "run"},
    }
    return guarded(
        lambda: 0 if run_search(from_mapping(SearchConfig, merged(values, preset("method", method)))).done else 1
    )


def fork(work: Callable[[], int], out: Path) -> int:
    """The number of a child process that does `work` and exits with its code; what it prints goes to the file `out`."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 70
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - the child's
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a child, as a negative number the signal that ended it; one that hangs is ended: -9."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Whole:
    """Runs that nobody disturbs, one for each method, made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seconds: dict[str, float] = {}

    def of(self, method: str) -> Path:
        """The folder that holds the run of `method`; raises RuntimeError where it fails."""
        folder = self.root / method
        if method not in self.seconds:
            folder.mkdir(parents=True)
            begun = time.monotonic()
            if code := wait(fork(lambda: search(folder, method), folder / "out.txt")):
                raise RuntimeError(f"{method} ended with {code}: {(folder / 'out.txt').read_text()[-2000:]}")
            self.seconds[method] = time.monotonic() - begun
        return folder


def difference(one: Path, other: Path) -> str | None:
    """The first place in which two finished runs differ; None where all is equal: state, log, genotype, result.

    The state is that of the last checkpoint: weights, alphas, both optimisers, the method's parts, random states.
    Tensors and numbers are compared by their bits; only what a clock had part in is left out.
    """
    found = [_end(folder / "run") for folder in (one, other)]
    return next(_differences(*found, "run"), None)


def _end(run: Path) -> dict[str, Any]:
    latest = Checkpoints(run / "checkpoints").latest()
    files = {name: json.loads((run / f"{name}.json").read_text()) for name in ("genotype", "result")}
    state = dict(latest[1]) if latest else {}
    state.pop("seconds", None)
    files["result"].pop("seconds")
    files["genotype"].pop("origin")  # it has the date
    return {"state": state, "rows": read_metrics(run / "metrics.jsonl", time=False), **files}


def _differences(one: Any, other: Any, where: str) -> Iterator[str]:
    if type(one) is not type(other):
        yield where
    elif isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        if not alike or not torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (one, other))):
            yield where
    elif isinstance(one, dict):
        if list(one) != list(other):
            yield where
        for key in one.keys() & other.keys():
            yield from _differences(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield where
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from _differences(a, b, f"{where}[{i}]")
    elif repr(one) != repr(other):
        yield where


def kill(root: Path, method: str, whole: Whole, rng: random.Random, aimed: bool) -> dict[str, Any]:
    """SIGKILL at a random time, or (`aimed`) in the middle of writing a checkpoint; then resumed to the end.

    `inside`: a half-written checkpoint was left. `difference`: from the undisturbed run, None where there is none.
    """
    undisturbed = whole.of(method)
    for attempt in range(20):  # a child that was faster than its killer proves nothing
        folder = root / str(attempt)
        folder.mkdir(parents=True)
        pid = fork(lambda: search(folder, method), folder / "out.txt")  # noqa: B023 - called at once
        if aimed:
            _watch(folder / "run" / "checkpoints", pid, rng.randrange(STEPS))
        else:
            # Shorter each time: the undisturbed run may have been timed while the machine was busier than now.
            time.sleep(rng.uniform(0, whole.seconds[method] * 0.8**attempt))
        os.kill(pid, signal.SIGKILL)
        if wait(pid) == -signal.SIGKILL:
            break
    else:
        raise RuntimeError(f"no search of {method} could be killed in time")
    inside = _half_written(folder / "run" / "checkpoints")
    steps = Checkpoints(folder / "run" / "checkpoints").steps
    code = wait(fork(lambda: search(folder, method), folder / "out.txt"))
    fault = (
        difference(folder, undisturbed) if code == 0 else f"exit code {code}: {(folder / 'out.txt').read_text()[-500:]}"
    )
    return {"method": method, "aimed": aimed, "inside": inside, "steps": steps, "difference": fault}


def _half_written(checkpoints: Path) -> bool:
    return checkpoints.is_dir() and any(name.startswith(".tmp-") for name in os.listdir(checkpoints))


def _watch(checkpoints: Path, pid: int, saves: int) -> None:
    """Until a checkpoint is being written after `saves` whole ones, or the child has ended."""
    deadline = time.monotonic() + LIMIT
    seen: set[str] = set()
    while time.monotonic() < deadline and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        names = os.listdir(checkpoints) if checkpoints.is_dir() else []
        seen.update(name for name in names if name.startswith("step-"))
        if len(seen) >= saves and any(name.startswith(".tmp-") for name in names):
            return
        time.sleep(0.0005)  # a save takes fifty times as long


# Where the signal falls: the function, and which of its calls sends it before doing its work.
PHASES: dict[str, tuple[Any, str, int]] = {
    "waiting for data": (SearchProgram, "batches", 2),
    "waiting for alpha data": (CyclingLoader, "at", 2),
    "forward": (ImageClassification, "loss", 4),
    "alpha step": (torch.optim.Adam, "step", 2),
    "weight step": (torch.optim.SGD, "step", 3),
    "log row": (RunLog, "scalars", 2),
    "validation": (SearchProgram, "end_epoch", 1),
    "log flush": (RunLog, "flush", 1),
    "saving": (Loop, "_save", 1),
    "writing to the disk": (os, "fsync", 3),
}


def signalled(root: Path, method: str, whole: Whole, phase: str, number: int = signal.SIGTERM) -> dict[str, Any]:
    """A signal that the run sends itself in `phase`, with no checkpoint but at the end of an epoch; then resumed.

    `code`, `seconds` from the signal to the exit, the `line` on stderr, the `steps` saved (that they load is part of
    resuming), and the `difference` from the undisturbed run.
    """
    undisturbed = whole.of(method)
    root.mkdir(parents=True)

    def work() -> int:
        _send(*PHASES[phase], number, root / "sent")
        return search(root, method, every_steps=0)

    code = wait(fork(work, root / "out.txt"))
    ended = time.monotonic()
    sent = root / "sent"
    seconds = ended - float(sent.read_text()) if sent.exists() else float("inf")
    line = (root / "out.txt").read_text().strip()
    checkpoints = Checkpoints(root / "run" / "checkpoints")
    row: dict[str, Any] = {"phase": phase, "method": method, "code": code, "seconds": seconds, "line": line}
    row |= {"steps": checkpoints.steps, "half_written": _half_written(checkpoints.folder)}
    again = wait(fork(lambda: search(root, method, every_steps=0), root / "out.txt"))
    return row | {"difference": f"exit code {again}" if again else difference(root, undisturbed)}


def _send(owner: Any, name: str, call: int, number: int, sent: Path) -> None:
    """From now on the `call`-th call of a function, counted while a loop runs, first sends this process the signal."""
    inner, calls = getattr(owner, name), 0

    def outer(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
        if calls == call and not sent.exists():
            sent.write_text(str(time.monotonic()))
            os.kill(os.getpid(), number)
        return inner(*args, **kwargs)

    setattr(owner, name, outer)


def impatient(root: Path, method: str, whole: Whole) -> dict[str, Any]:
    """Two SIGINT in a step that takes an hour; then resumed without it. `seconds` count from the second one."""
    undisturbed = whole.of(method)
    root.mkdir(parents=True)

    def work() -> int:
        inner = SearchProgram.step

        def slow(self: SearchProgram, batch: Any, epoch: int, step: int) -> Any:
            if step == STEPS // 2:
                (root / "sent").touch()
                time.sleep(3600)
            return inner(self, batch, epoch, step)

        SearchProgram.step = slow  # type: ignore[method-assign]
        return search(root, method)

    pid = fork(work, root / "out.txt")
    deadline = time.monotonic() + LIMIT
    while not (root / "sent").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    waited = os.waitpid(pid, os.WNOHANG)[0] == 0
    begun = time.monotonic()
    os.kill(pid, signal.SIGINT)
    code = wait(pid)
    row = {"first_waits": waited, "code": code, "seconds": time.monotonic() - begun}
    again = wait(fork(lambda: search(root, method), root / "out.txt"))
    return row | {"difference": f"exit code {again}" if again else difference(root, undisturbed)}


def race(folder: Path, *, stale: bool = False, flock: bool = True) -> str | None:
    """Two processes reach for the lock of `folder` at once; None where one has it and the other names it, else why not.

    `stale`: a process that was killed has had it before. Without `flock` the file system is one that knows none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if stale:
        pid = fork(lambda: _reach(folder, flock, None, None), folder / "out.txt")
        if wait(pid) != -signal.SIGKILL:
            return "the first holder could not take the lock"
    (start, go), (told, tell), (end, over) = os.pipe(), os.pipe(), os.pipe()

    def work() -> int:
        os.close(go)
        os.close(over)
        return _reach(folder, flock, start, (tell, end))

    pids = [fork(work, folder / "out.txt") for _ in range(2)]
    os.close(tell)
    os.close(go)  # both read its end at the same moment
    answers: list[dict[str, Any]] = []
    with open(told, closefd=True) as lines:
        while len(answers) < 2 and (line := lines.readline()):
            answers.append(json.loads(line))
        os.close(over)
    codes = [wait(pid) for pid in pids]
    os.close(start)
    os.close(end)
    held = [answer["pid"] for answer in answers if answer["refused"] is None]
    refused = [answer["refused"] for answer in answers if answer["refused"] is not None]
    if codes != [0, 0] or len(held) != 1 or len(refused) != 1:
        return f"{len(held)} hold it, {len(refused)} are refused, exit codes {codes}"
    named = re.search(r"process (\d+) on (\S+),", refused[0])
    good = named is not None and int(named[1]) == held[0] and named[2] == os.uname().nodename
    return None if good and "\n" not in refused[0] else f"the refusal does not name {held[0]}: {refused[0]}"


def _reach(folder: Path, flock: bool, start: int | None, pipes: tuple[int, int] | None) -> int:
    """In a child: takes the lock and tells whether it could; holds it to the end, or (no `pipes`) dies with it."""
    if not flock:
        lock._flock = lambda handle: None
    own = lock.RunLock(folder)
    if start is not None:
        os.read(start, 1)
    refused = None
    try:
        own.acquire()
    except SupernetError as error:
        refused = str(error)
    if pipes is None:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1
    tell, end = pipes
    os.write(tell, (json.dumps({"pid": os.getpid(), "refused": refused}) + "\n").encode())
    os.close(tell)
    os.read(end, 1)
    if refused is None:
        own.release()
    return 0
