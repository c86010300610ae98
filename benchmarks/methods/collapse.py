"""Do searches collapse to skips: skip share and eigenvalue over the epochs, of plain DARTS and of methods against it.

    python benchmarks/methods/collapse.py --data CIFAR --runs runs/collapse            # both spaces, three paired seeds
    python benchmarks/methods/collapse.py --data CIFAR --runs runs/collapse --spaces s2 --json

5,000 images of CIFAR-10 at 16 x 16 pixels, C = 8, one cell a stage (NAS-Bench-201) or three cells (S2, whose edges
offer a skip and a separable convolution), batch 64, alphas.lr 3e-3 for all, no augmentation. Every search is a run
folder: the same command goes on where it was stopped, and finished ones are read. The largest eigenvalue of the Hessian
of L_val by alpha is measured every four epochs on one batch; only `rdarts_es` stops by it.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, positive, run

METHODS = ("darts", "darts_minus", "beta_darts", "rdarts_es", "drnas")
SPACES: dict[str, dict[str, Any]] = {
    "nasbench201": {"channels": 8, "cells_per_stage": 1},
    "s2": {"channels": 8, "layers": 3},
}
EIGENVALUE = {"name": "eigenvalue", "every": 4}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder of CIFAR-10")
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"), help="the folder of the run folders")
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--epochs", type=positive, default=38)
    parser.add_argument("--images", type=positive, default=5000)
    add_json(parser)
    options = parser.parse_args()
    return run(lambda: measure(options), show, options)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: one row a search, with what was logged after each epoch."""
    from benchmarks.common.hardware import hardware

    rows = []
    for space in options.spaces:
        for seed in range(options.seeds):  # paired: every method of a seed has the same weights and batches
            for method in options.methods:
                rows.append(search(space, method, seed, options))
                last = rows[-1]
                print(
                    f"{space} {method} seed {seed}: skips {last['skips'][-1]:.2f}, {last['seconds']:.0f} s", flush=True
                )
    settings = {key: getattr(options, key) for key in ("seeds", "epochs", "images")}
    result = {"benchmark": "collapse", "settings": settings, "hardware": hardware("cpu"), "rows": rows}
    if options.json:
        plot(result, options.json / "collapse.svg")
    return result


def search(space: str, method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One search, or what is logged of it where it has ended."""
    import supernet
    from supernet.presets import merged, preset
    from supernet.runs.log import read_metrics

    folder = options.runs / f"{space}-{method}-s{seed}"
    settings = merged(preset("method", method), {"alphas": {"lr": 3e-3}})
    watchers = [EIGENVALUE if method == "rdarts_es" else {**EIGENVALUE, "ratio": 0.0}]
    parts = {**dict(settings.pop("method")), "watchers": watchers}  # type: ignore[call-overload]
    data = {"name": "cifar10", "root": options.data, "image_size": 16, "limit": options.images, "flip": False, "pad": 0,
            "cutout": 0}  # fmt: skip
    began = time.perf_counter()
    searched = supernet.search(
        space, method=parts, data=data, run=folder, network=SPACES[space], epochs=options.epochs, batch_size=64,
        seed=seed, log={"progress": False, "tensorboard": False}, checkpoint={"every_steps": 200}, **settings,
    )  # fmt: skip
    logged = [row for row in read_metrics(folder / "metrics.jsonl") if "alpha/mean_entropy" in row]
    return {
        "space": space, "method": method, "seed": seed, "seconds": time.perf_counter() - began,
        "epochs": len(logged), "val": [row["val/top1"] for row in logged], "skips": [skip_share(row) for row in logged],
        "found": [row["genotype/skip_share"] for row in logged],
        "entropy": [row["alpha/mean_entropy"] for row in logged],
        "eigenvalue": {row["epoch"]: row["method/eigenvalue"] for row in logged if "method/eigenvalue" in row},
        "genotype": json.loads(searched.genotype.to_json())["decisions"],
    }  # fmt: skip


def skip_share(row: dict[str, Any]) -> float:
    """The mean weight of the skip over all tables."""
    return statistics.fmean(value for name, value in row.items() if name.startswith("alpha/skip_share/"))


def show(result: dict[str, Any]) -> str:
    """One line a space and method: means over the seeds, and the spread of the last skip share."""
    lines = []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["space"], row["method"]), []).append(row)
    for (space, method), rows in groups.items():
        first, last = ([row["skips"][at] for row in rows] for at in (0, -1))
        sharpest = [max(row["eigenvalue"].values(), default=float("nan")) for row in rows]
        lines.append([
            f"{space} {method}", f"{statistics.fmean(first):.2f}", f"{statistics.fmean(last):.2f}",
            " ".join(f"{value:.2f}" for value in last), f"{statistics.fmean(row['found'][-1] for row in rows):.2f}",
            " ".join(f"{value:.2f}" for value in sharpest), f"{statistics.fmean(row['val'][-1] for row in rows):.3f}",
            " ".join(str(row["epochs"]) for row in rows),
        ])  # fmt: skip
    header = ["", "skips, first", "last", "by seed", "in the cell", "largest eigenvalue", "val/top1", "epochs"]
    return f"{describe(result['hardware'])}\n\n{table(header, lines)}"


def plot(result: dict[str, Any], path: Path) -> None:
    """Skip share and eigenvalue over the epochs, one line a seed, one row a space."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    spaces, methods = (list(dict.fromkeys(row[key] for row in result["rows"])) for key in ("space", "method"))
    figure, axes = pyplot.subplots(len(spaces), 2, figsize=(10, 3.2 * len(spaces)), squeeze=False)
    for row in result["rows"]:
        colour = f"C{methods.index(row['method'])}"
        label = row["method"] if row["seed"] == 0 else None
        left, right = axes[spaces.index(row["space"])]
        left.plot(range(1, row["epochs"] + 1), row["skips"], color=colour, label=label, linewidth=1)
        right.plot([int(e) + 1 for e in row["eigenvalue"]], list(row["eigenvalue"].values()), color=colour, linewidth=1)
    for space, (left, right) in zip(spaces, axes, strict=True):
        left.set(title=f"{space}: weight of the skip", xlabel="epoch")
        right.set(title=f"{space}: largest eigenvalue", xlabel="epoch", yscale="log")
        left.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
