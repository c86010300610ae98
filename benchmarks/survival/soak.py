"""Does a long run leak? Memory, open files and the folder of checkpoints of a search of thousands of steps.

    python benchmarks/survival/soak.py [--steps 5000] [--json]

The smallest search there is, with a log row every ten steps and a checkpoint every hundred. After a tenth of the steps,
when caches and pools have grown to their size, resident memory and open files are noted; at the end they are compared.
"""

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.hardware import hardware
from benchmarks.common.script import add_json, run
from supernet.config import SearchConfig, from_mapping
from supernet.stages.run_search import run_search
from supernet.train.search import SearchProgram

KEEP = 2
PER_EPOCH = 100  # steps, and between two looks
SPREAD = 5  # looks whose median counts: one may fall into the writing of a checkpoint


def soak(steps: int = 5000) -> dict[str, Any]:
    """Searches for about `steps` steps (1,000 or more, whole epochs); what grew, as plain values."""
    looks: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        config = _config(folder, max(steps // PER_EPOCH, 10))
        end_epoch = SearchProgram.end_epoch

        def look(program: SearchProgram, epoch: int) -> dict[str, Any]:
            gc.collect()
            looks.append({"bytes": _resident(), "files": _files(), "checkpoints": _entries(folder)})
            return end_epoch(program, epoch)

        SearchProgram.end_epoch = look  # type: ignore[method-assign]
        start = time.perf_counter()
        try:
            outcome = run_search(config)
        finally:
            SearchProgram.end_epoch = end_epoch  # type: ignore[method-assign]
        seconds = time.perf_counter() - start
        looks.append({"bytes": _resident(), "files": looks[-1]["files"], "checkpoints": _entries(folder)})
    warm = looks[len(looks) // 10 :]
    first, last = (statistics.median(one["bytes"] for one in part) for part in (warm[:SPREAD], warm[-SPREAD:]))
    return {
        "benchmark": "soak",
        "steps": config.epochs * PER_EPOCH,
        "done": outcome.done,
        "seconds": seconds,
        "growth": last / first - 1,
        "files": sorted({one["files"] for one in warm}),
        "checkpoints": max(one["checkpoints"] for one in looks),
        "keep": KEEP,
        "looks": looks,
    }


def passed(result: dict[str, Any]) -> bool:
    """Memory grew by less than 2 %, no file stayed open, and old checkpoints went: the last two, the best, one more."""
    pruned = result["checkpoints"] <= result["keep"] + 2
    return bool(result["done"] and result["growth"] < 0.02 and len(result["files"]) == 1 and pruned)


def _config(folder: str, epochs: int) -> SearchConfig:
    return from_mapping(
        SearchConfig,
        {
            "epochs": epochs,
            "batch_size": 2,
            "data": {"limit": 4 * PER_EPOCH},
            "space": {"name": "nasbench201"},
            "network": {"channels": 1, "cells_per_stage": 1},
            "checkpoint": {"every_steps": PER_EPOCH // 2, "keep": KEEP},
            "log": {"every": 10, "progress": False},
            "run": {"root": folder, "name": "run"},
        },
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _entries(folder: str) -> int:
    checkpoints = Path(folder) / "run" / "checkpoints"
    return len(os.listdir(checkpoints)) if checkpoints.is_dir() else 0


def show(result: dict[str, Any]) -> str:
    """The summary line."""
    return (
        f"soak: {result['steps']} steps in {result['seconds']:.0f} s; resident memory {result['growth']:+.2%}, "
        f"open files {result['files']}, at most {result['checkpoints']} checkpoints: "
        f"{'passed' if passed(result) else 'FAILED'}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Looks for leaks in a long search.")
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="default 5000")
    add_json(parser)
    options = parser.parse_args(arguments)
    facts = hardware("cpu")
    return run(lambda: soak(options.steps) | {"hardware": facts}, show, options, lambda result: not passed(result))


if __name__ == "__main__":
    sys.exit(main())
