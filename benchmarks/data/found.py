"""Is what the demonstration finds better than chance at its own size? Its search and retraining at several seeds.

    python benchmarks/data/found.py                      # 5 seeds: 6 CPU minutes
    python benchmarks/data/found.py --json               # also writes benchmarks/results/found-<hardware>.json

Each seed gives one pair: the found cell, and the median of random cells of equal size under the same recipe and seed.
All are ordinary run folders, so the same command goes on where it was stopped.
"""

import argparse
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, add_sizes, run

SIZES = {"seeds": 5}


def pair(root: Path, seed: int) -> dict[str, Any]:
    """One seed: test accuracies in percent, and parameters."""
    from supernet.stages.run_demo import retrained, searched

    best = retrained(searched(root / f"s{seed}", seed), root / f"s{seed}", seed)
    return {
        "seed": seed,
        "genotype": best.genotype.hash,
        "parameters": sum(p.numel() for p in best.model.parameters()),
        "found": 100 * best.metrics["test/top1"],
        "random": [100 * one.score for one in best.controls],
        "random_parameters": [one.parameters for one in best.controls],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All seeds, and the paired difference, as plain values."""
    import torch

    from benchmarks.common.hardware import hardware
    from supernet.evaluate.paired import paired
    from supernet.stages import run_demo

    torch.set_num_threads(1)
    rows = [pair(options.runs, seed) for seed in range(options.seeds)]
    difference = paired([row["found"] for row in rows], [median(row["random"]) for row in rows])
    settings = {"seeds": options.seeds, "search": run_demo.SEARCH, "retrain": run_demo.RETRAIN}
    result: dict[str, Any] = {"benchmark": "found", "settings": settings, "hardware": hardware("cpu"), "pairs": rows}
    return result | {"difference": {**asdict(difference), "verdict": difference.verdict}}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    rows = [
        [str(row["seed"]), f"{row['found']:.2f}", f"{median(row['random']):.2f}", f"{row['parameters']:,}"]
        for row in result["pairs"]
    ]
    d = result["difference"]
    interval = "no interval" if d["low"] is None else f"{d['low']:+.2f} to {d['high']:+.2f}"
    closing = (
        f"found less the median of random cells of equal size: {d['mean']:+.2f} points, {interval}: {d['verdict']}"
    )
    header = ["seed", "found %", "random %", "parameters"]
    return "\n".join([describe(result["hardware"]), "", table(header, rows), "", closing])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Searches and retrains as the demonstration does, at several seeds.")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "found", metavar="FOLDER", help="of all trainings")
    add_sizes(parser, SIZES)
    add_json(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run(partial(measure, options), show, options)


if __name__ == "__main__":
    sys.exit(main())
