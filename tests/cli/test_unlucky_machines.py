"""A machine without the memory, or one that kills a worker: one line, no traceback."""

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from supernet.cli.exit_codes import FAILED, guarded

ROOM = "this process may use more address space where ulimit -v is raised\n"
LOADER = "/site-packages/torch/lib/libtorch_cpu.so: failed to map segment from shared object"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenProcessPool("a worker"), "error: a process of the sweep was killed, often for want of memory, and the"),
        (ImportError(LOADER), f"error: no memory to load libtorch_cpu.so; {ROOM}"),
        (ImportError("x.so: cannot allocate memory in static TLS block"), f"error: no memory to load x.so; {ROOM}"),
        (MemoryError(), f"error: out of memory; {ROOM}"),
    ],
)
def test_it_is_one_line(error: BaseException, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            raise error
        except ImportError as cause:  # scipy and its like raise one of their own over it
            raise ImportError("could not be imported") from cause

    assert guarded(work) == FAILED
    line = capsys.readouterr().err
    assert line.startswith(told) and line.count("\n") == 1


def test_another_import_that_fails_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise ImportError("No module named 'mine'")

    assert guarded(work) == FAILED
    assert "Traceback" in capsys.readouterr().err


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


@pytest.mark.long
def test_a_command_without_room_to_load_torch(tmp_path: Path, root: Path) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    command = [sys.executable, "-m", "supernet", "search"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(root), preexec_fn=little, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: no memory to load libtorch_cpu.so; {ROOM}"


@pytest.mark.long
def test_a_killed_worker_of_a_sweep(tmp_path: Path, root: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = [
        sys.executable, "-m", "supernet", "search", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        "seed=0,1", "epochs=3000", "batch_size=10", "data.limit=40", "log.progress=false", "log.tensorboard=false",
        "space.args.nodes=2", "network.channels=2", "network.layers=3", "device=cpu",
    ]  # fmt: skip
    sweep = subprocess.Popen(command, cwd=tmp_path, env=environment(root), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 90
    while len(list(tmp_path.glob("runs/search-seed-*/checkpoints/step-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.2)
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    (worker, *_) = [pid for pid in children if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(worker), signal.SIGKILL)
    _, error = sweep.communicate(timeout=60)
    assert sweep.returncode == FAILED and "Traceback" not in error
    last = error.splitlines()[-1]
    assert last.startswith("error: a process of the sweep was killed") and "the same command goes on" in last
