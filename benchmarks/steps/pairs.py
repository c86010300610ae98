"""One bilevel step before a change and after it: alternating pairs, and the ratio with its interval of 95 %.

    python benchmarks/steps/pairs.py BEFORE AFTER                    # two checkouts; 20 pairs, C=16, 8 layers, batch 8
    python benchmarks/steps/pairs.py BEFORE AFTER --formulations torch cpu --pairs 40 --json

Each checkout has a process of its own, both are warm, and in each pair one runs right behind the other, in turn first,
so that a busy moment of the machine falls on both. The ratio of a pair is AFTER's seconds over BEFORE's. Told is the
geometric mean over the pairs, with Student's interval on the logarithms. The exit code is 1 where an interval reaches
the bar: it must lie below 1.05 to say that nothing has become slower.
"""

import argparse
import math
import statistics
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, add_sizes, run
from benchmarks.common.worker import WARM_UP, Worker

SIZES = {"channels": 16, "layers": 8, "batch": 8, "size": 32, "threads": 1, "pairs": 20, "steps": 1, "limit": 600}
BAR = 1.05


def _revision(checkout: Path) -> str:
    """What a result calls a checkout: its revision, else the folder's name."""
    line = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.stdout.strip() or checkout.name


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each formulation the seconds of both sides and the ratio of the pairs."""
    checkouts = [Path(options.before).resolve(), Path(options.after).resolve()]
    keys = ("channels", "layers", "batch", "size", "threads", "device", "bf16", "part")
    settings = {key: getattr(options, key) for key in keys}
    results, hardware = [], {}
    for name in options.formulations:
        with ExitStack() as stack:
            sides = [stack.enter_context(Worker(settings | {"name": name}, checkout)) for checkout in checkouts]
            for side in sides:
                side.wait(options.limit)
            for side in sides:
                side.warm_up(options.limit)
            seconds = alternate(sides, options.pairs, options.steps, options.limit)
            hardware = sides[1].facts["hardware"]
        ratios = [after / before for before, after in zip(*seconds, strict=True)]
        results.append({"name": name, "before": seconds[0], "after": seconds[1], "ratios": ratios} | interval(ratios))
    settings |= {"pairs": options.pairs, "steps": options.steps, "warm_up": WARM_UP}
    return {
        "benchmark": "pairs",
        "settings": settings,
        "hardware": hardware,
        "checkouts": [_revision(path) for path in checkouts],
        "results": results,
    }


def alternate(sides: list[Worker], pairs: int, steps: int, limit: float) -> tuple[list[float], list[float]]:
    """Seconds of `steps` steps of both sides, pair by pair; which of them begins changes each time."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            seconds[side].append(sum(sides[side].run(limit) for _ in range(steps)))
    return seconds


def interval(ratios: list[float]) -> dict[str, float]:
    """The geometric mean `ratio` of two or more ratios, and `low` and `high`, between which it lies with 95 %."""
    from scipy.stats import t

    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"ratio": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half)}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["formulation", "before s", "after s", "ratio", "95 % from", "to", f"below {BAR}"]
    rows = [
        [
            r["name"],
            *(f"{statistics.median(r[side]):.4f}" for side in ("before", "after")),
            *(f"{r[key]:.3f}" for key in ("ratio", "low", "high")),
            "yes" if r["high"] < BAR else "no",
        ]
        for r in result["results"]
    ]
    s = result["settings"]
    what = (
        f"{'one bilevel step' if s['part'] == 'step' else 'one forward and backward'}: C={s['channels']}, "
        f"{s['layers']} layers, batch {s['batch']}, {s['size']}x{s['size']}; {s['pairs']} pairs of {s['steps']} steps"
    )
    before, after = result["checkouts"]
    return "\n".join(
        [what, describe(result["hardware"]), f"before: {before}", f"after:  {after}", "", table(header, rows)]
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times a step of two checkouts in alternating pairs.")
    parser.add_argument("before", metavar="BEFORE", help="a checkout")
    parser.add_argument("after", metavar="AFTER", help="another one")
    parser.add_argument("--formulations", nargs="+", default=["torch", "cpu"], metavar="NAME", help="default torch cpu")
    parser.add_argument("--part", choices=("step", "pass"), default="step", help="a bilevel step (default), or a pass")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    add_sizes(parser, SIZES)
    add_device(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.pairs < 2:
        parser.error("--pairs must be 2 or more: one has no interval")
    return run(
        partial(measure, options), show, options, lambda result: any(row["high"] >= BAR for row in result["results"])
    )


if __name__ == "__main__":
    sys.exit(main())
