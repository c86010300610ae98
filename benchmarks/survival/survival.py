"""Does a run survive being killed, told to stop, and started twice? Every trial is counted, the failed ones are named.

    python benchmarks/survival/survival.py                    # 200 kills, 60 of them at the save window; minutes
    python benchmarks/survival/survival.py --kills 20 --aimed 6 --races 0
    python benchmarks/survival/survival.py --json             # also writes benchmarks/results/survival-<hardware>.json

The exit code is 0 where every trial was good. See trials.py for what a trial is.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

# Before torch and numpy are loaded: a process with threads cannot be forked safely.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, run
from benchmarks.survival import trials

SEED = 20


def kills(root: Path, whole: trials.Whole, methods: list[str], number: int, aimed: int, inside: int) -> dict[str, Any]:
    """`number` kills, `aimed` of them at the save window, and more of those until `inside` have hit it."""
    rng, rows = random.Random(SEED), list[dict[str, Any]]()
    while len(rows) < number or (sum(r["inside"] for r in rows) < inside and len(rows) < 2 * number):
        i = len(rows)
        method = methods[i % len(methods)]
        # Each method gets aimed kills: they come first, and the methods take turns.
        rows.append(trials.kill(root / f"kill-{i}", method, whole, rng, i < aimed or i >= number))
    each = Counter(r["method"] for r in rows)
    return summary("SIGKILL at random points, resume", rows) | {
        "inside": sum(r["inside"] for r in rows),
        "methods": {name: each[name] for name in methods},
        "after_steps": dict(sorted(Counter(max(r["steps"], default=0) for r in rows).items())),
    }


def signals(root: Path, whole: trials.Whole, methods: list[str]) -> dict[str, Any]:
    """SIGTERM in each phase, the methods in turn."""
    rows = []
    for i, phase in enumerate(trials.PHASES):
        method = methods[i % len(methods)]
        rows.append(trials.signalled(root / f"signal-{i}", method, whole, phase))
        good = rows[-1]["code"] == 143 and rows[-1]["line"] == trials.LINE and rows[-1]["seconds"] < 5
        whole_again = bool(rows[-1]["steps"]) and not rows[-1]["half_written"]
        if not (good and whole_again):
            rows[-1]["difference"] = rows[-1]["difference"] or str(rows[-1])
    return summary("SIGTERM in each phase, resume", rows) | {"slowest": max(r["seconds"] for r in rows)}


def impatience(root: Path, whole: trials.Whole, method: str) -> dict[str, Any]:
    """A second SIGINT in a step that never ends."""
    row = trials.impatient(root / "impatient", method, whole)
    if not (row["first_waits"] and row["code"] == -2 and row["seconds"] < 1):
        row["difference"] = row["difference"] or str(row)
    return summary("second SIGINT ends at once, resume", [row]) | {"slowest": row["seconds"]}


def races(root: Path, number: int) -> dict[str, Any]:
    """Two processes, one run: every other time after a holder that was killed, every third without flock."""
    rows = [
        {"difference": trials.race(root / f"race-{i}", stale=i % 2 == 1, flock=i % 3 < 2), "trial": i}
        for i in range(number)
    ]
    return summary("two processes, one run: one refuses", rows)


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many were good, and all about the others."""
    bad = [r for r in rows if r["difference"] is not None]
    return {"name": name, "good": len(rows) - len(bad), "of": len(rows), "bad": bad}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for, as plain values."""
    import torch

    from benchmarks.common.hardware import hardware
    from supernet.config import DataConfig
    from supernet.data.splits import open_data
    from supernet.presets import preset_names

    torch.set_num_threads(1)
    open_data(DataConfig(), 0)  # loads what reads the digits; the children find it loaded
    methods = options.methods or preset_names("method")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if not torch.cuda.is_available():  # with CUDA a process that has differentiated cannot be forked
            for method in methods:  # a first search loads what each child would load again, for a second of its time
                trials.search(root / "first" / method, method)
        whole = trials.Whole(root / "whole")
        if options.kills:
            number = max(options.kills, options.each * len(methods))
            results.append(kills(root, whole, methods, number, options.aimed, options.inside))
        if not options.no_signals:
            results += [signals(root, whole, methods), impatience(root, whole, methods[0])]
        if options.races:
            results.append(races(root, options.races))
    settings = {key: getattr(options, key) for key in ("kills", "aimed", "inside", "each", "races")}
    settings |= {"seed": SEED, "methods": methods}
    return {"benchmark": "survival", "settings": settings, "hardware": hardware("cpu"), "results": results}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [describe(result["hardware"]), ""]
    rows = []
    for r in result["results"]:
        more = [f"{r['inside']} in the save window"] if "inside" in r else []
        more += (
            [f"{min(r['methods'].values())} or more of each of {len(r['methods'])} methods"] if "methods" in r else []
        )
        more += [f"slowest {r['slowest']:.2f} s"] if "slowest" in r else []
        rows.append([r["name"], f"{r['good']}/{r['of']}", ", ".join(more)])
    lines.append(table(["trial", "good", ""], rows))
    lines += [f"bad: {bad}" for r in result["results"] for bad in r["bad"]]
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kills searches, tells them to stop, starts them twice; counts.")
    add = parser.add_argument
    add("--kills", type=int, default=200, metavar="N", help="SIGKILLs (200)")
    add("--aimed", type=int, default=60, metavar="N", help="how many of them wait for the save window (60)")
    add("--inside", type=int, default=30, metavar="N", help="how many must hit it, with more kills if need be (30)")
    add("--each", type=int, default=10, metavar="N", help="kills of each method, with more kills if need be (10)")
    add("--races", type=int, default=500, metavar="N", help="races for the lock of one run (500)")
    add("--no-signals", action="store_true", help="without SIGTERM and SIGINT")
    add("--methods", nargs="+", metavar="NAME", help="presets of the group method (all)")
    add_json(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run(partial(measure, options), show, options, lambda result: any(r["bad"] for r in result["results"]))


if __name__ == "__main__":
    sys.exit(main())
