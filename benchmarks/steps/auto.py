"""What `executor=auto` takes in each space of cells, against the other executor: alternating pairs of a bilevel step.

    python benchmarks/steps/auto.py                          # every space, 15 pairs, C=8, 5 layers, batch 16
    python benchmarks/steps/auto.py --spaces nasbench201 s1 --pairs 30 --json

Both executors run in this process, on one network each, and in turn first. The ratio of a pair is the seconds of what
auto takes over those of the other one. The exit code is 1 where auto is slower by 5 % or more somewhere: there the
interval of 95 % does not lie below 1.05. Spaces without cells, whose sums choose by their size, are not measured.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, table
from benchmarks.common.script import add_json, positive, run
from benchmarks.steps.pairs import BAR, interval

CANDIDATES = ("torch", "cpu")
WARM_UP = 3  # steps


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each space what auto takes, and the ratio of the pairs."""
    import torch

    from benchmarks.common.hardware import hardware

    torch.set_num_threads(options.threads)
    results = [compare(name, options) for name in options.spaces or spaces_of_cells()]
    settings = {key: getattr(options, key) for key in ("channels", "layers", "batch", "size", "threads", "pairs")}
    return {"benchmark": "auto", "settings": settings, "hardware": hardware("cpu"), "results": results}


def spaces_of_cells() -> list[str]:
    """The registered spaces whose networks have an executor to choose, in their order."""
    from supernet.space import SPACES, get_space
    from supernet.space.cells import CellSpace

    return [name for name in SPACES if isinstance(get_space(name), CellSpace) and name != "darts_rnn"]


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The seconds of both executors in a space, pair by pair."""
    import torch

    from supernet.network.cells.cell import MixedCell
    from supernet.network.executor.automatic import choose, mostly_separable

    sides = {executor: Side(name, executor, options) for executor in CANDIDATES}
    cell = next(m for m in sides["torch"].step.net.body.modules() if isinstance(m, MixedCell))
    takes = choose(torch.device("cpu"), torch.float32, dense=not mostly_separable(cell))[0]
    (other,) = (executor for executor in CANDIDATES if executor != takes)
    for side in sides.values():
        for _ in range(WARM_UP):
            side.seconds()
    seconds: dict[str, list[float]] = {takes: [], other: []}
    for number in range(options.pairs):
        for executor in (takes, other) if number % 2 == 0 else (other, takes):
            seconds[executor].append(sides[executor].seconds())
    ratios = [mine / theirs for mine, theirs in zip(seconds[takes], seconds[other], strict=True)]
    return {"name": name, "takes": takes, "other": other, "seconds": seconds, "ratios": ratios} | interval(ratios)


class Side:
    """One network by one executor, and its bilevel step on fixed batches."""

    def __init__(self, space: str, executor: str, options: argparse.Namespace) -> None:
        import torch

        from supernet.network import Supernet
        from supernet.space import get_space
        from supernet.tasks.classification import ImageClassification
        from supernet.train.bilevel import BilevelStep

        sizes = {"cells_per_stage": 1} if space == "nasbench201" else {"layers": options.layers}
        net = Supernet(get_space(space), executor=executor, seed=0, channels=options.channels, **sizes)
        self.step = BilevelStep(net, ImageClassification(10))
        generator = torch.Generator().manual_seed(0)
        shape = 2, options.batch, 3, options.size, options.size
        images = torch.randn(shape, generator=generator)
        targets = torch.randint(10, shape[:2], generator=generator)
        self.batches = [(images[i], targets[i]) for i in (0, 1)]

    def seconds(self) -> float:
        """One step."""
        begin = time.perf_counter()
        self.step(*self.batches, 0)
        return time.perf_counter() - begin


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["space", "auto takes", "s", "other", "s", "ratio", "95 % from", "to", f"below {BAR}"]
    rows = [
        [
            r["name"], r["takes"], f"{statistics.median(r['seconds'][r['takes']]):.4f}",
            r["other"], f"{statistics.median(r['seconds'][r['other']]):.4f}",
            *(f"{r[key]:.3f}" for key in ("ratio", "low", "high")), "yes" if r["high"] < BAR else "no",
        ]
        for r in result["results"]
    ]  # fmt: skip
    return "\n".join([describe(result["hardware"]), str(result["settings"]), "", table(header, rows)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times what executor=auto takes against the other executor.")
    parser.add_argument("--spaces", nargs="+", metavar="NAME", help="registered spaces of cells (all)")
    for name, value in {"channels": 8, "layers": 5, "batch": 16, "size": 32, "threads": 1, "pairs": 15}.items():
        parser.add_argument(f"--{name}", type=positive, default=value, metavar="N", help=f"default {value}")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.pairs < 2:
        parser.error("--pairs must be 2 or more: one has no interval")
    return run(
        partial(measure, options), show, options, lambda result: any(r["high"] >= BAR for r in result["results"])
    )


if __name__ == "__main__":
    sys.exit(main())
