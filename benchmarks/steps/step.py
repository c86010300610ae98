"""Seconds and memory of one whole first-order bilevel step of the DARTS search network, formulations side by side.

    python benchmarks/steps/step.py [--channels 16 --layers 8 --batch 8 --size 32 --threads 2]
    python benchmarks/steps/step.py --formulations original+channels_last torch cpu
    python benchmarks/steps/step.py --compile [whole|edges] --limit 1200       # torch.compile of the original too

A step updates the alphas (Adam, on a validation batch) and then the weights (SGD with momentum, clipped, on a training
batch); `--part pass` is one forward and backward instead. Each formulation (formulations.py has their names) has a
process of its own and they take turns. This process does not load torch: a child's memory starts at its parent's.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import ORIGINAL, describe, table
from benchmarks.common.script import add_device, add_json, add_sizes, positive, run
from benchmarks.common.worker import WARM_UP, take_turns

SIZES = {"channels": 16, "layers": 8, "batch": 8, "size": 32, "threads": 2, "repeats": 9}
LAST = f"{ORIGINAL}+channels_last"
USUAL = {  # those that a machine cannot run say so in their row
    "cpu": [LAST, "reference", "torch", "cpu"],
    "cuda": [LAST, "reference", "torch", "cuda", "torch+captured", "cuda+captured"],
}
COMPILED = {"whole": f"{ORIGINAL}+compiled", "edges": f"{ORIGINAL}+compiled+edges"}


def names(options: argparse.Namespace) -> list[str]:
    """The formulations to measure, the original first."""
    kind = "cpu" if options.device == "cpu" else "cuda"
    chosen = options.formulations or [n for n in USUAL[kind] if options.part == "step" or "captured" not in n]
    if options.compile:
        chosen = [*chosen, COMPILED[options.compile]]
    return list(dict.fromkeys([ORIGINAL, *chosen]))


def measure(options: argparse.Namespace, benchmark: str) -> dict[str, Any]:
    """The result as plain values; raises Failure where the original cannot run."""
    keys = ("part", "channels", "layers", "batch", "size", "threads", "device", "bf16")
    settings = {key: getattr(options, key) for key in keys}
    hardware, results = take_turns(settings, names(options), options.repeats, options.limit)
    settings |= {"warm_up": WARM_UP, "repeats": options.repeats, "limit": options.limit}
    return {"benchmark": benchmark, "settings": settings, "hardware": hardware, "results": results}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["formulation", "median s", "min", "max", "speed-up", "peak MiB", "all MiB", "first s", "parameters"]
    rows, lines = [], []
    for r in result["results"]:
        if "error" in r:
            rows.append([r["name"], *"-" * (len(header) - 1)])
            lines.append(f"{r['name']}: {r['error']}")
            continue
        times = (r["median"], min(r["seconds"]), max(r["seconds"]))
        sizes = (f"{r[key] / 2**20:.0f}" for key in ("peak_bytes", "total_bytes"))
        cells = [*(f"{t:.4f}" for t in times), f"{r['speed_up']:.2f}", *sizes, f"{r['first']:.1f}"]
        rows.append([r["name"], *cells, f"{r['parameters']:,}"])
    s = result["settings"]
    what = (
        f"{'one bilevel step' if s['part'] == 'step' else 'one forward and backward'}: C={s['channels']}, "
        f"{s['layers']} layers, batch {s['batch']}, {s['size']}x{s['size']}, "
        f"{'bf16' if s['bf16'] else 'float32'}, {s['repeats']} repeats"
    )
    return "\n".join([what, describe(result["hardware"]), "", table(header, rows), *lines])


def parser(description: str) -> argparse.ArgumentParser:
    """The options that this script shares with compiled.py."""
    parser = argparse.ArgumentParser(description=description)
    add_sizes(parser, SIZES)
    parser.add_argument(
        "--formulations", nargs="+", metavar="NAME", help="what to compare with the original (formulations.py)"
    )
    parser.add_argument("--part", choices=("step", "pass"), default="step", help="a bilevel step (default), or a pass")
    add_device(parser)
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument(
        "--limit", type=positive, default=1200, metavar="S", help="seconds until it is ready, and of a run (1200)"
    )
    add_json(parser)
    return parser


def report(options: argparse.Namespace, benchmark: str, asked: Sequence[str]) -> int:
    """Measures, prints and writes; 2 where nothing could be compared, 1 where one of the `asked` failed."""

    def failed(result: dict[str, Any]) -> bool:
        return any("error" in r and r["name"] in asked for r in result["results"])

    return run(partial(measure, options, benchmark), show, options, failed)


def main(arguments: list[str] | None = None) -> int:
    own = parser("Times one bilevel step of the DARTS search network.")
    own.add_argument(
        "--compile", nargs="?", const="whole", choices=tuple(COMPILED), help="torch.compile of the original as well"
    )
    options = own.parse_args(arguments)
    return report(
        options, "step", [*(options.formulations or []), *([COMPILED[options.compile]] if options.compile else [])]
    )


if __name__ == "__main__":
    sys.exit(main())
