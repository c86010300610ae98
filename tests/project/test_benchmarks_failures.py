"""What goes wrong in a benchmark costs only itself, and is told; on a GPU it is the device that is timed.

None of it needs a GPU: what torch would do there is played by `FakeCuda`.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import gpu_suite
from benchmarks.common import timing
from benchmarks.common import worker as client
from benchmarks.cost import memory
from benchmarks.kernels import kernels
from benchmarks.steps import formulations, scaling, step
from supernet.errors import SupernetError

TINY = {"part": "step", "device": "cpu", "channels": 2, "layers": 1, "batch": 2, "size": 8, "bf16": False, "threads": 1}
WORKER = """
import json, sys, time
name = json.loads(sys.argv[1])['name']
say = lambda message: print(json.dumps(message), flush=True)
if name == 'reference':
    time.sleep(60)
say({'parameters': 1, 'hardware': {'name': '', 'gpu': 'none', 'torch': '', 'python': '', 'platform': ''}})
for line in sys.stdin:
    say({'seconds': 0.5})
if name == 'cpu':
    time.sleep(60)
if name != 'torch':
    say({'peak_bytes': 3 * 2**20, 'total_bytes': 4 * 2**20})
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reference` is never ready, `torch` ends and `cpu` hangs before they tell their memory."""
    monkeypatch.setattr(client, "SCRIPT", tmp_path / "serve.py")
    client.SCRIPT.write_text(WORKER, encoding="utf-8")


@pytest.mark.long
def test_one_formulation_that_hangs_costs_only_its_row(workers: None, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert step.main(["--repeats=2", "--limit=1", "--formulations", "original+channels_last"]) == 0
    assert step.main(["--repeats=2", "--limit=1", "--formulations", "reference", "torch", "cpu"]) == 1
    assert time.monotonic() - start < 30
    out = capsys.readouterr().out
    assert "reference: not finished in 1 s" in out and "cpu: not finished in 1 s" in out
    assert "torch: ended without an answer" in out
    assert re.search(r"original +0\.5000", out)


def test_a_prediction_that_fails_loses_no_measured_row(
    workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(settings: dict[str, Any]) -> None:
        if settings["name"] != "original":
            raise KeyError("no such part")

    monkeypatch.setattr(memory, "predict", predict)
    name = "original+channels_last"
    assert memory.main(["--limit=5", "--formulations", name, f"--json={tmp_path / 'out'}"]) == 1
    (path,) = (tmp_path / "out").iterdir()
    first, other = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert other["peak_bytes"] == 3 * 2**20 and other["share"] == 1 and other["predicted"] is None
    assert "no such part" in other["predicted_error"] and "predicted_error" not in first
    assert f"{name}: not predicted: " in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_worker_ends_with_the_process_that_started_it(root: Path, tmp_path: Path) -> None:
    """In the middle of a run too, where it does not see that nobody asks any more."""
    script, running = tmp_path / "serve.py", tmp_path / "running"
    script.write_text(
        "import runpy, sys, time\nfrom pathlib import Path\nfrom types import SimpleNamespace\n"
        f"sys.path.insert(0, {str(root)!r})\n"
        "def run():\n"
        f"    Path({str(running)!r}).touch()\n"
        "    time.sleep(100)\n"
        "sys.modules['benchmarks.steps.formulations'] = SimpleNamespace(make=lambda settings: (run, 1))\n"
        f"runpy.run_path({str(root / 'benchmarks' / 'common' / 'serve.py')!r}, run_name='__main__')\n",
        encoding="utf-8",
    )
    code = (
        "from pathlib import Path\nfrom benchmarks.common import worker as client\n"
        f"client.SCRIPT = Path({str(script)!r})\n"
        f"worker = client.Worker({TINY | {'name': 'torch'}})\n"
        "print(worker.process.pid, flush=True)\nworker.wait(90)\nworker.run(90)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        try:
            assert within(60, running.exists) and alive(worker)
            parent.kill()
            parent.wait()
            assert within(10, lambda: not alive(worker))
        finally:
            parent.kill()
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether something becomes true in that time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def alive(process: int) -> bool:
    """Of Linux; one that has ended and that nobody has asked about is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_formulation_has_the_same_guard_with_a_graph_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, str]] = []
    plain = formulations.CapturedStep
    monkeypatch.setattr(
        formulations,
        "CapturedStep",
        lambda s, capture: made.append((s.guard.config, capture)) or plain(s, capture=capture),
    )
    for name in ("torch", "torch+captured"):
        run, _ = formulations.make(TINY | {"name": name})
        run()
    assert made == [(formulations.GuardConfig(), "off"), (formulations.GuardConfig(), "auto")]
    assert formulations.GuardConfig().skips > 0


class FakeCuda:
    """What timing.py asks of `torch.cuda`, with a note of what ran on which stream and device."""

    def __init__(self) -> None:
        self.stream_now, self.device_now, self.notes = "usual", "cuda:0", []

    def note(self, what: str, *where: str) -> None:
        self.notes.append((what, *(where or (self.stream_now,))))

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream
        try:
            yield
        finally:
            self.stream_now = before

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before, self.device_now = self.device_now, str(device)
        yield
        self.device_now = before

    @contextmanager
    def graph(self, graph: Any, stream: str) -> Iterator[None]:
        self.note("capture", stream)
        self.stream_now = stream  # and where the capture breaks off it stays
        yield

    def Event(self, enable_timing: bool) -> Any:
        record = lambda: self.note("event", self.device_now)  # noqa: E731
        return SimpleNamespace(record=record, elapsed_time=lambda other: 1.0)

    def module(self) -> Any:
        """In place of torch."""
        graph = SimpleNamespace(replay=lambda: self.note("replay"))
        cuda = {
            "Stream": lambda device: f"own of {device}", "stream": self.stream, "device": self.device,
            "graph": self.graph, "Event": self.Event, "CUDAGraph": lambda: graph,
            "synchronize": lambda device: self.note("synchronise"),
        }  # fmt: skip
        flush = SimpleNamespace(zero_=lambda: None)
        return SimpleNamespace(cuda=SimpleNamespace(**cuda), empty=lambda *_, **__: flush, uint8=None)


def test_a_backward_is_captured_on_the_stream_of_its_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr(timing, "torch", cuda.module())
    case = SimpleNamespace(
        check=lambda: "", run=lambda: cuda.note("run"), moved=lambda: 1, operations=lambda: 1,
        eager=lambda: cuda.note("forward") or (lambda: cuda.note("backward")),
    )  # fmt: skip
    monkeypatch.setattr(kernels, "Case", lambda *_: case)
    monkeypatch.setattr(kernels, "_registers", lambda *_: {})
    device = torch.device("cuda:1")
    clock = timing.Clock(device, 3)
    row = kernels._row(kernels.specs(1, ["node_mix"])[0], torch.float32, device, clock, 1.0)
    own = "own of cuda:1"
    assert row["seconds"] == row["eager_seconds"] == 1e-3
    assert cuda.notes[:2] == [("synchronise", "usual"), ("forward", own)]
    assert {note[1] for note in cuda.notes if note[0] in ("run", "backward", "capture")} == {own}
    assert {note for note in cuda.notes if note[0] == "event"} == {("event", "cuda:1")}
    assert [note[0] for note in cuda.notes].count("capture") == 2 and ("replay", "usual") in cuda.notes
    case.run = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        clock.seconds(case.run)
    assert cuda.stream_now == "usual"


def test_scaling_keeps_its_rows_when_time_or_one_of_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scaling, "GROWTH", {"operations": (2, 4, 6), "channels": (8,)})
    now = 100.0

    def one(settings: dict[str, Any]) -> list[float]:
        nonlocal now
        now += 4
        if settings["operations"] == 4:
            raise SupernetError("the step was not captured: the guard reads\nall")
        return [0.5]

    monkeypatch.setattr(scaling, "_step_seconds", one)
    monkeypatch.setattr(scaling.time, "monotonic", lambda: now)
    assert scaling.main(["--executor=torch", "--seconds=11", "--threads=1", f"--json={tmp_path}"]) == 1
    (path,) = tmp_path.iterdir()
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert [row.get("seconds") for row in rows] == [0.5, None, 0.5, *[None] * 5]
    assert rows[1]["error"] == "the step was not captured: the guard reads"
    assert {row["error"] for row in rows[3:]} == {"not measured: no time was left"}
    assert "no time was left" in capsys.readouterr().out
    monkeypatch.undo()
    assert scaling.main(["--executor=nowhere", "--threads=1"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown")


def test_a_step_that_is_no_graph_is_no_row_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `scaling` as in `step`: the product runs a graph there."""
    ran: list[int] = []

    class Uncaptured:
        WARM_UP, captured, why_not = 3, False, "the network draws"

        def __init__(self, *_: object, **__: object) -> None: ...

        def __call__(self, *_: object, epoch: int, number: int) -> None:
            ran.append(number)

    monkeypatch.setattr(formulations, "CapturedStep", Uncaptured)
    for missing in ("BilevelStep", "Guard"):
        monkeypatch.setattr(formulations, missing, lambda *_, **__: None)
    net: Any = SimpleNamespace(alphas=lambda: [SimpleNamespace(device=torch.device("cuda"))])
    with pytest.raises(SupernetError, match="was not captured: the network draws"):
        formulations.own_step(net, {"train": None, "val": None}, "off", capture="auto")  # type: ignore[dict-item]
    assert ran == [0, 1, 2, 3]
    formulations.own_step(net, {"train": None, "val": None}, "off", capture="off")()  # type: ignore[dict-item]


def test_parts_of_operators_that_are_wrong_say_so() -> None:
    options = argparse.Namespace(device="cuda", quick=False, data=None)
    found = gpu_suite.parts(options)
    for part in found:
        part.status = "failed" if part.name in ("checks-node_mix", "checks-pool_pair") else "ok"
    for part in found:
        gpu_suite.distrust(part, found)
    told = {part.name: part.status for part in found if not part.name.startswith("checks-")}
    doubted = {"pass", "step", "search", "memory", "scaling"}
    assert {name for name, status in told.items() if status == "ok; checks failed: pool_pair, node_mix"} == doubted
    assert {status for name, status in told.items() if name not in doubted} == {"ok"}
    limits = {
        p.name: p.arguments[len(p.arguments) - p.arguments[::-1].index("--limit")]
        for p in found
        if "--limit" in p.arguments
    }
    assert limits == {"pass": "25", "step": "25", "memory": "25", "warm-step": "110"}


def test_results_of_an_earlier_suite_do_not_pass_for_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(3)", encoding="utf-8")
    names = ("fails", "unreached")
    found = [gpu_suite.Part(name, str(tmp_path / "fails.py"), [], 9, wave) for wave, name in enumerate(names)]
    out = tmp_path / "out"
    for path in (*(out / f"{name}.json" for name in names), out / "summary.json", out / "fails" / "checks-a.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"benchmark": "checks"}', encoding="utf-8")
    monkeypatch.setattr(gpu_suite, "parts", lambda options: found)
    monkeypatch.setattr(gpu_suite, "may_run", lambda part, found: part.name == "fails")
    assert gpu_suite.main(["--device=cpu", "--quick", f"--out={out}"]) == 1
    assert {path.name for path in out.iterdir()} == {"fails.txt", "summary.json"}
    assert found[0].result == {}
