"""How far from the best of a table the strategies are after 50, 100, 200 and 400 evaluations.

    python benchmarks/strategies/regret.py --table accuracies.yaml                      # every strategy, 200 runs
    python benchmarks/strategies/regret.py --table accuracies.yaml --strategies nas_rl --runs 50 --json

The table is bound to a space by its YAML (docs/compare.md). An evaluation is the first look at a point; a point that is
proposed again costs none and is told again. A run ends where a strategy proposes nothing new 300 times in a row: what
it has found by then counts for the rest. Strategies see scores only through `tell`. Regret is the best score of the
table less the best so far, on average over the runs, with its standard error.
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, positive, run

MARKS = (50, 100, 200, 400)
PATIENCE = 300  # proposals without a new point
MOST = {"gaussian_process": 100, "predictor": 100}  # evaluations of a run: their time grows with the cube
# What the mean regret may be, by strategy and evaluations.
BARS = {
    "regularised_evolution": {100: 0.06}, "tournament": {100: 0.12, 200: 0.03}, "genetic_cnn": {200: 0.187},
    "codeepneat": {200: 0.121}, "metaqnn": {200: 0.187, 400: 0.10}, "nas_rl": {200: 0.05, 400: 0.02},
    "gaussian_process": {100: 0.10}, "predictor": {50: 0.185, 100: 0.06},
}  # fmt: skip


@cache
def looked_up(path: str, space: str) -> tuple[Any, dict[tuple[int, ...], float]]:
    """(the space, score by encoded point), larger is better."""
    from supernet.evaluate.table import Table
    from supernet.space import get_space

    tree = get_space(space)
    rows = Table.read(path, tree)
    sign = 1.0 if rows.maximise else -1.0
    return tree, {tuple(tree.encode(point)): sign * metrics[rows.binding.score] for point, metrics in rows}


def search(name: str, seed: int, path: str, space: str) -> dict[int, float]:
    """Evaluations -> regret of one run."""
    import torch

    from supernet.strategies import make_strategy

    torch.set_num_threads(1)
    tree, scores = looked_up(path, space)
    top, best, idle = max(scores.values()), float("-inf"), 0
    most = MOST.get(name, max(MARKS))
    strategy, seen, regret = make_strategy(name, tree, seed), set[tuple[int, ...]](), dict[int, float]()
    while len(seen) < most and idle < PATIENCE and (points := strategy.ask()):
        for point in points:
            vector = tuple(tree.encode(point))
            idle = idle + 1 if vector in seen else 0
            seen.add(vector)
            best = max(best, scores[vector])
            strategy.tell(point, scores[vector])
            if len(seen) in MARKS:
                regret.setdefault(len(seen), top - best)
    return {mark: regret.get(mark, top - best) for mark in MARKS if mark <= most}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each strategy the mean regret and its error by evaluations."""
    from benchmarks.common.hardware import hardware
    from supernet.evaluate.binding import read_binding
    from supernet.strategies import STRATEGIES

    space = read_binding(options.table).space
    results = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in options.strategies or [name for name in STRATEGIES if name != "grid"]:
            began = time.perf_counter()
            one = partial(search, name, path=str(options.table), space=space)
            rows = list(pool.map(one, range(options.runs), chunksize=5))
            means = {mark: statistics.mean(row[mark] for row in rows) for mark in rows[0]}
            errors = {mark: statistics.stdev(row[mark] for row in rows) / len(rows) ** 0.5 for mark in rows[0]}
            seconds = time.perf_counter() - began
            results.append({"strategy": name, "regret": means, "error": errors, "seconds": seconds})
            print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    settings = {"space": space, "runs": options.runs, "jobs": options.jobs}
    return {"benchmark": "regret", "settings": settings, "hardware": hardware("cpu"), "results": results}


def show(result: dict[str, Any]) -> str:
    """The table for people."""
    rows = []
    for entry in result["results"]:
        marks = [
            f"{entry['regret'][mark]:.3f} ({entry['error'][mark]:.3f})" if mark in entry["regret"] else ""
            for mark in MARKS
        ]
        bars = ", ".join(f"{bar:g} at {mark}" for mark, bar in BARS.get(entry["strategy"], {}).items())
        rows.append([entry["strategy"], *marks, bars, f"{entry['seconds']:.0f}"])
    header = ["strategy", *map(str, MARKS), "bars", "s"]
    return "\n".join([describe(result["hardware"]), str(result["settings"]), "", table(header, rows)])


def missed(result: dict[str, Any]) -> bool:
    """Whether some strategy certainly misses its bar: by more than two standard errors."""
    return any(
        entry["regret"][mark] - 2 * entry["error"][mark] > bar
        for entry in result["results"]
        for mark, bar in BARS.get(entry["strategy"], {}).items()
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The regret of strategies on a table of all points of a space.")
    parser.add_argument("--table", type=Path, required=True, help="a CSV with its YAML beside it, or the YAML")
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="all but grid")
    parser.add_argument("--runs", type=positive, default=200)
    parser.add_argument("--jobs", type=positive, default=2, help="processes side by side")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.runs < 2:
        parser.error("--runs must be 2 or more: one has no error")
    return run(partial(measure, options), show, options, missed)


if __name__ == "__main__":
    sys.exit(main())
