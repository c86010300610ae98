"""Can these data tell cells apart? Random cells of equal size, each trained at several seeds; both spreads.

    python benchmarks/data/spread.py                      # 20 cells, 3 seeds on the cluttered digits: 6 CPU minutes
    python benchmarks/data/spread.py --data digits        # the plain ones, for comparison
    python benchmarks/data/spread.py --share 0/2          # every other training, for two processes side by side
    python benchmarks/data/spread.py --json               # also writes benchmarks/results/spread-<data>-<hardware>.json

Every training is an ordinary run folder, so the same command goes on where it was stopped. The exit code is 1 where the
spread between cells is less than twice that between seeds.

    seeds = sqrt(mean over cells of the variance between seeds)      cells = sqrt(variance of the means - seeds^2 / S)

for S seeds: what the seeds alone put between the means is taken off. Both variances are unbiased.
"""

import argparse
import os
import statistics
import sys
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, add_sizes, run

SIZES = {"cells": 20, "seeds": 3, "epochs": 6}
SPACE = "nasbench201"
NETWORK = {"channels": 8, "cells_per_stage": 1}
RECIPE = {"lr": 0.05, "drop_path": 0.0, "auxiliary": 0.0}
BATCH = 32
PARAMETERS, TOLERANCE, DRAWS = (
    32_258,
    0.1,
    5000,
)  # the median of 60 live random cells; the share of it they may differ
ENOUGH = 2.0


def spreads(scores: list[list[float]]) -> dict[str, float]:
    """Of the scores of each cell, one a seed: the spread between seeds, between cells, and their ratio."""
    seeds = sqrt(statistics.fmean(statistics.variance(row) for row in scores))
    means = [statistics.fmean(row) for row in scores]
    cells = sqrt(max(0.0, statistics.variance(means) - seeds**2 / len(scores[0])))
    raw = statistics.stdev(means)
    return {"mean": statistics.fmean(means), "seeds": seeds, "means": raw, "cells": cells, "ratio": cells / seeds}


def cells(data: str, number: int) -> list[Any]:
    """The first random points of the space whose networks have about PARAMETERS parameters."""
    from supernet import cost
    from supernet.config import DataConfig
    from supernet.data.splits import open_data
    from supernet.evaluate.controls import Draws
    from supernet.space import get_space

    info, space = open_data(DataConfig(name=data), 0).info, get_space(SPACE)
    arguments = {**NETWORK, "in_chans": info.in_chans, "num_classes": info.num_classes}
    draws = Draws(space, 0, lambda point: cost.parameters(point, space=space, **arguments), most=DRAWS)
    return list(draws.matching(PARAMETERS, number, TOLERANCE).points)


def trained(genotype: Any, seed: int, options: argparse.Namespace) -> tuple[float, float, int]:
    """Test accuracy in percent, seconds, and parameters of one training, begun, gone on with or found."""
    from supernet.config import RetrainConfig, from_mapping
    from supernet.runs.folder import RunFolder
    from supernet.stages.run_retrain import run_retrain

    settings = {
        "seed": seed, "epochs": options.epochs, "batch_size": BATCH, "device": "cpu", "network": NETWORK,
        "recipe": RECIPE, "data": {"name": options.data}, "run": {"root": str(options.runs)},
        "log": {"tensorboard": False, "progress": False},
    }  # fmt: skip
    folder = run_retrain(from_mapping(RetrainConfig, settings), genotype=genotype).folder
    assert folder is not None
    result = RunFolder(folder).trained()
    return 100 * float(result["metrics"]["test/top1"]), float(result["seconds"]), int(result["parameters"])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All trainings of the share, as plain values."""
    import torch

    from benchmarks.common.hardware import hardware

    torch.set_num_threads(1)
    part, parts = map(int, options.share.split("/"))
    places = [(cell, seed) for cell in range(options.cells) for seed in range(options.seeds)]
    points = cells(options.data, options.cells)
    found = {
        (cell, seed): trained(points[cell], seed, options) for i, (cell, seed) in enumerate(places) if i % parts == part
    }
    settings = {name: getattr(options, name) for name in ("data", *SIZES)}
    settings |= {"space": SPACE, "network": NETWORK, "recipe": RECIPE, "batch_size": BATCH, "tolerance": TOLERANCE}
    facts = hardware("cpu")
    facts["name"] = f"{options.data}-{facts['name']}"
    result: dict[str, Any] = {"benchmark": "spread", "settings": settings, "hardware": facts}
    result |= {"cells": [], "spreads": None}
    if parts == 1:
        for cell, point in enumerate(points):
            rows = [found[cell, seed] for seed in range(options.seeds)]
            scores = [round(score, 3) for score, _, _ in rows]
            seconds = [round(seconds, 1) for _, seconds, _ in rows]
            result["cells"].append(
                {"genotype": point.hash, "parameters": rows[0][2], "scores": scores, "seconds": seconds}
            )
        scores = sorted((row["scores"] for row in result["cells"]), key=sum)
        result["spreads"] = spreads(scores)
        result["without_the_two_weakest"] = spreads(scores[2:]) if len(scores) > 3 else None
    return result


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    if result["spreads"] is None:
        return "this share of the trainings is done; without --share the spreads are told"
    rows = [
        [row["genotype"][:8], f"{row['parameters']:,}", " ".join(f"{score:.2f}" for score in row["scores"])]
        for row in sorted(result["cells"], key=lambda row: statistics.fmean(row["scores"]))
    ]
    s = result["spreads"]
    closing = (
        f"{result['settings']['data']}: mean {s['mean']:.2f} %, spread between cells {s['cells']:.2f}, "
        f"between seeds {s['seeds']:.2f}, ratio {s['ratio']:.2f}"
    )
    if rest := result["without_the_two_weakest"]:
        closing += f"; without the two weakest {rest['cells']:.2f}, {rest['seeds']:.2f}, {rest['ratio']:.2f}"
    return "\n".join([describe(result["hardware"]), "", table(["cell", "parameters", "test %"], rows), "", closing])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains random cells of equal size at several seeds.")
    parser.add_argument("--data", default="cluttered_digits", metavar="NAME", help="a data set (cluttered_digits)")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "spread", metavar="FOLDER", help="of the trainings")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="only the trainings I modulo N")
    add_sizes(parser, SIZES)
    add_json(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run(
        partial(measure, options), show, options, lambda r: bool(r["spreads"]) and r["spreads"]["ratio"] < ENOUGH
    )


if __name__ == "__main__":
    sys.exit(main())
