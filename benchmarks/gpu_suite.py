"""Everything that a GPU has to show, in one command and under 8 minutes: right first, then how fast.

    python benchmarks/gpu_suite.py --out DIR [--data FOLDER]      # FOLDER holds cifar-10-batches-py
    python benchmarks/gpu_suite.py --out DIR --device cpu --quick # the same parts, tiny, to try the command itself

Each part is a script of these folders in a process of its own with a limit of its own, so one that fails or hangs costs
nothing but itself. DIR gets a JSON and a text for each part, and summary.json. torch.compile is no part of it, because
compiling takes longer than all of this: benchmarks/steps/compiled.py.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.common.report import save, table
from benchmarks.kernels.cases import HOME

HERE = Path(__file__).resolve().parent
SECONDS = 465  # for all parts together
ROW = 20  # of steps/scaling.py: seconds that loading its libraries and one row may take together
WARM = "warm-"  # parts that only fill the cache of compiled kernels; nothing is made of what they say


@dataclass
class Part:
    """A script with its arguments; those of one `wave` run at the same time."""

    name: str
    script: str
    arguments: list[str]
    limit: int  # seconds
    wave: int
    status: str = "not run: no time was left"
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    fused: bool = False  # whether it runs the operators that the checks are about, besides kernels/kernels.py


def parts(options: argparse.Namespace) -> list[Part]:
    """What is run, in this order: kernels that are wrong are told before anything is timed."""
    alone = timed(options, ["--device", options.device])
    operators = ["edge_group", "node_mix"] if options.quick else list(HOME)
    own = ["--device", options.device]
    own += ["--body", "stock"] if options.device == "cpu" else []
    own += ["--shapes", "1"] if options.quick else []
    # A process for each operator: a kernel that goes wrong may take the whole CUDA context of its process with it.
    first = [Part(f"checks-{name}", "kernels/checks.py", [*own, "--only", name], 120, 0) for name in operators]
    if not options.quick:  # beside the checks, so that later parts find their kernels compiled
        compiling = [part for part in alone if part.name in ("step", "kernels", "scaling")]
        once = {"step": ["--repeats", "1", "--limit", "110"]}  # this is where formulations may compile for long
        first += [
            Part(f"{WARM}{p.name}", p.script, [*p.arguments, *once.get(p.name, ["--repeats", "1"])], 120, 0)
            for p in compiling
        ]
    return [part for part in (*first, *alone) if (HERE / part.script).is_file()]


def timed(options: argparse.Namespace, on: list[str]) -> list[Part]:
    """The parts that have the machine to themselves, one after another."""
    usual, kernels, repeats = [*on, "--batch", "64", "--bf16"], [*on, "--bf16"], ["--repeats", "9"]
    forms, captured = ["original+channels_last", "torch", "cuda"], ["torch+captured", "cuda+captured"]
    held = ["torch", "cuda", "cuda+checkpoint"]
    # A formulation that takes longer for one answer is left out, so that the others have a table.
    limit = ["--limit", "60" if options.quick else "25"]
    # Not `auto`, which would first have the kernels prove themselves: that is what the checks are for.
    executor = ["--executor", "cuda"]
    search = ["--validate", *(["--data", options.data, "--steps", "390"] if options.data else [])]
    if options.quick:
        tiny = ["--channels", "2", "--layers", "1", "--batch", "2", "--size", "8", "--threads", "1"]
        usual, repeats = [*on, *tiny], ["--repeats", "3"]
        kernels = [*on, "--batch", "1", "--copy", "1000000", "--repeats", "1", "--threads", "1"]
        search += ["--steps", "2", "--images", "64"]
    if options.device == "cpu":  # what needs no C++ compiler: this is to try the command
        forms, captured, held, executor = ["torch"], [], ["torch"], ["--executor", "torch"]
        kernels += ["--body", "stock"]
    scripts = [
        Part("pass", "steps/step.py", [*usual, *repeats, *limit, "--part", "pass", "--formulations", *forms], 75, 1),
        Part("step", "steps/step.py", [*usual, *repeats, *limit, "--formulations", *forms, *captured], 90, 2),
        Part("kernels", "kernels/kernels.py", kernels, 90, 3),
        Part("search", "steps/search.py", [*usual, *search, *executor], 60, 4),
        Part("memory", "cost/memory.py", [*usual, *limit, "--formulations", *held], 90, 5),
        Part("scaling", "steps/scaling.py", [*usual, *repeats, *executor], 90, 6),
    ]
    for part in scripts:
        part.fused = options.device != "cpu" and part.name != "kernels"
    return scripts


def may_run(part: Part, all_parts: list[Part]) -> bool:
    """Operators that are not right are not timed either."""
    checks = {one.name.partition("-")[2]: one.status == "ok" for one in all_parts if one.script == "kernels/checks.py"}
    if part.script != "kernels/kernels.py" or not checks:
        return True
    right = [name for name, good in checks.items() if good]
    part.arguments += ["--only", *right]
    part.status = part.status if right else "not run: no operator is right"
    return bool(right)


def distrust(part: Part, all_parts: list[Part]) -> None:
    """A part that runs operators which are not right says so beside its own status."""
    wrong = [
        one.name.partition("-")[2] for one in all_parts if one.script == "kernels/checks.py" and one.status != "ok"
    ]
    if wrong and part.fused:
        part.status += f"; checks failed: {', '.join(wrong)}"


def clear(folder: Path, part: Part) -> None:
    """Removes what an earlier suite has left of a part: it would pass for this one's."""
    left = [folder / f"{part.name}.json", folder / f"{part.name}.txt", *(folder / part.name).glob("*.json")]
    for path in left:
        path.unlink(missing_ok=True)


def run_wave(wave: list[Part], folder: Path, left: float) -> None:
    """Runs parts at the same time, each until its limit or until the time of all is over."""
    started = time.monotonic()
    running = []
    for part in wave:
        clear(folder, part)
        text = (folder / f"{part.name}.txt").open("w", encoding="utf-8")
        line = [sys.executable, str(HERE / part.script), *part.arguments, "--json", str(folder / part.name)]
        if part.script == "steps/scaling.py":  # it stops by itself, with time left for its last row
            line += ["--seconds", str(max(int(min(part.limit, left)) - ROW, 1))]
        process = subprocess.Popen(line, stdout=text, stderr=subprocess.STDOUT, start_new_session=True)
        running.append((part, process, text))
    for part, process, text in running:
        try:
            code = process.wait(max(min(part.limit, left) - (time.monotonic() - started), 0))
            part.status = "ok" if code == 0 else f"failed (exit code {code}; {part.name}.txt)"
        except subprocess.TimeoutExpired:
            part.status = f"not finished in {min(part.limit, left):.0f} s"
        _end(process)
        text.close()
        part.seconds = time.monotonic() - started
        part.result = _collect(folder, part)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _collect(folder: Path, part: Part) -> dict[str, Any]:
    """The JSON that a part has written, moved to PART.json; empty where there is none."""
    own = folder / part.name
    written = sorted(own.glob("*.json")) if own.is_dir() else []
    for path in written:
        path.replace(folder / f"{part.name}.json")
    if part.name.startswith(WARM):
        (folder / f"{part.name}.json").unlink(missing_ok=True)
        written = []
    if own.is_dir():
        own.rmdir()
    try:
        return dict(json.loads((folder / f"{part.name}.json").read_text(encoding="utf-8"))) if written else {}
    except ValueError:
        return {}


def headline(result: dict[str, Any]) -> str:
    """What one part has found, in a line."""
    rows = result.get("results", [])
    kind, good = result.get("benchmark"), [row for row in rows if "error" not in row]
    if kind == "checks":
        return f"{sum(r['cases'] for r in rows)} cases, {sum(len(r['wrong']) for r in rows)} wrong"
    if kind == "step":
        failed = [f"{row['name']} failed" for row in rows if "error" in row]
        return ", ".join([*(f"{r['name']} {r['median'] * 1e3:.2f} ms" for r in good), *failed])
    if kind == "kernels" and good:
        shares = sorted(r["share_of_copy"] for r in good)
        return f"{len(good)} of {len(rows)} right and timed; share of a copy {shares[0]:.0%} to {shares[-1]:.0%}"
    if kind == "search":
        minutes = result["minutes_of_steps"]
        return f"{result['images_per_second']:.0f} images a second, 50 epochs: {minutes:.1f} min of steps"
    if kind == "memory":
        return ", ".join(f"{r['name']} {r['peak_bytes'] / 2**20:.0f} MiB" for r in good)
    if kind == "scaling":
        return f"{len(good)} of {len(rows)} rows"
    return "" if not result else f"{len(rows)} rows"


def report(options: argparse.Namespace, all_parts: list[Part], seconds: float) -> str:
    """Writes summary.json; the table for people."""
    hardware = next((part.result["hardware"] for part in all_parts if "hardware" in part.result), None)
    summary = {
        "benchmark": "gpu_suite",
        "settings": {"device": options.device, "quick": options.quick, "data": options.data},
        "hardware": hardware,
        "seconds": seconds,
        "parts": {
            part.name: {"status": part.status, "seconds": part.seconds, "found": headline(part.result)}
            for part in all_parts
        },
    }
    path = save(summary, options.out, "summary")
    rows = [[part.name, f"{part.seconds:.0f}", part.status, headline(part.result)] for part in all_parts]
    lines = [table(["part", "s", "status", "found"], rows), "", f"{seconds:.0f} s; written: {path}"]
    return "\n".join(
        [*lines, "Next: python benchmarks/steps/compiled.py --device cuda --batch 64 --bf16 (torch.compile, long)"]
    )


def lacks_gpu(device: str) -> bool:
    return device != "cpu" and not torch.cuda.is_available()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks and times everything on a GPU.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--data", metavar="FOLDER", help="folder with CIFAR-10's batches, for a short real search")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1 ..., cpu with --quick")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the command itself")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts, such as checks step kernels")
    options = parser.parse_args(arguments)
    if lacks_gpu(options.device) or (options.device == "cpu" and not options.quick):
        print(
            "error: this needs a GPU that torch sees; without one: --device cpu --quick, or the scripts",
            file=sys.stderr,
        )
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    started, chosen = time.monotonic(), parts(options)
    if options.only:
        chosen = [p for p in chosen if {p.name, p.name.partition("-")[0], p.name.removeprefix(WARM)} & {*options.only}]
    for part in chosen:
        clear(options.out, part)  # here too, for those that time does not reach
    (options.out / "summary.json").unlink(missing_ok=True)
    for number in sorted({part.wave for part in chosen}):
        left = SECONDS - (time.monotonic() - started)
        wave = [part for part in chosen if part.wave == number and may_run(part, chosen)]
        if left > 1:
            run_wave(wave, options.out, left)
        for part in wave:
            distrust(part, chosen)
    print(report(options, chosen, time.monotonic() - started))
    return int(any(part.status != "ok" for part in chosen if not part.name.startswith(WARM)))


if __name__ == "__main__":
    sys.exit(main())
