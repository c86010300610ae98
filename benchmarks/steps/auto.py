"""What `executor=auto` takes in each space of images, against the other executors: alternating pairs of a bilevel step.

    python benchmarks/steps/auto.py                          # every space, 15 pairs, C=8, 5 layers, batch 16
    python benchmarks/steps/auto.py --spaces nasbench201 s1 --pairs 30 --json
    python benchmarks/steps/auto.py --json --resume          # goes on: spaces that the file has are not measured again

All run in this process, on one network each, and in turn first. In spaces of cells auto is one executor for the whole
network, and is timed against the other one. In spaces of choices it decides at each sum by its size, and is timed
against stock sums (torch) and fused ones (cpu) throughout; where all its sums are stock ones it is `torch`. The ratio
of a pair is auto's seconds over the other's. The exit code is 1 where auto is slower by 5 % or more somewhere: there
the interval of 95 % does not lie below 1.05. Spaces without cells and without a `Choice` between modules have nothing
that an executor could run.
"""

import argparse
import inspect
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import describe, save, table
from benchmarks.common.script import add_json, positive, run
from benchmarks.steps.pairs import BAR, interval

CANDIDATES = ("torch", "cpu")
WARM_UP = 3  # steps


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each space what auto takes, and the ratio of the pairs against each other one."""
    import torch

    from benchmarks.common.hardware import hardware

    torch.set_num_threads(options.threads)
    settings = {key: getattr(options, key) for key in ("channels", "layers", "batch", "size", "threads", "pairs")}
    result: dict[str, Any] = {"benchmark": "auto", "settings": settings, "hardware": hardware("cpu"), "results": []}
    name = f"auto-{result['hardware']['name']}"
    before = _rows(options.json / f"{name}.json", settings) if options.resume else []
    for space in options.spaces or measured_spaces():
        rows = [row for row in before if row["name"] == space]
        result["results"] += rows or compare(space, options)
        if options.json:
            save(result, options.json, name)
    return result


def _rows(file: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What a measurement of these settings has written; nothing where there is none."""
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"settings": None}
    return list(earlier["results"]) if earlier["settings"] == settings else []


def measured_spaces() -> list[str]:
    """The registered spaces in whose networks an executor has a part, in their order."""
    from supernet.space import SPACES, get_space
    from supernet.space.cells import CellSpace
    from supernet.space.choice import Choice

    names = []
    for name in SPACES:
        space = get_space(name)
        if isinstance(space, CellSpace):
            served = name != "darts_rnn"
        else:
            assert space.factory is not None
            served = any(isinstance(module, Choice) for module in space.factory().modules())
        if served:
            names.append(name)
    return names


def compare(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The seconds of what auto takes in a space and of the others, turn by turn: a row for each other one."""
    takes, *others = contenders(name, options)
    sides = {executor: Side(name, executor, options) for executor in (takes, *others)}
    for side in sides.values():
        for _ in range(WARM_UP):
            side.seconds()
    seconds: dict[str, list[float]] = {executor: [] for executor in sides}
    for number in range(options.pairs):
        for executor in sides if number % 2 == 0 else reversed(sides):
            seconds[executor].append(sides[executor].seconds())
    rows = []
    for other in others:
        ratios = [mine / theirs for mine, theirs in zip(seconds[takes], seconds[other], strict=True)]
        both = {executor: seconds[executor] for executor in (takes, other)}
        rows.append(
            {"name": name, "takes": takes, "other": other, "seconds": both, "ratios": ratios} | interval(ratios)
        )
    return rows


def contenders(name: str, options: argparse.Namespace) -> tuple[str, ...]:
    """What auto takes in a space, then the others: where all its sums are stock ones, auto is `torch` itself."""
    import torch

    from supernet.network.cells.cell import MixedCell
    from supernet.network.executor.automatic import choose, mostly_separable
    from tests.support.counted import Calls

    side = Side(name, "auto", options)
    cell = next((m for m in side.step.net.body.modules() if isinstance(m, MixedCell)), None)
    if cell is None:
        with Calls() as calls:
            side.seconds()
        takes = "auto" if calls.of else "torch"
    else:
        takes = choose(torch.device("cpu"), torch.float32, dense=not mostly_separable(cell))[0]
    return takes, *(executor for executor in CANDIDATES if executor != takes)


class Side:
    """One network by one executor, and its bilevel step on fixed batches."""

    def __init__(self, space: str, executor: str, options: argparse.Namespace) -> None:
        import torch

        from supernet.network import Supernet
        from supernet.network.macro import macro_of
        from supernet.space import get_space
        from supernet.tasks.classification import ImageClassification
        from supernet.train.bilevel import BilevelStep

        takes = inspect.signature(macro_of(get_space(space)).relaxed).parameters
        sizes = {"channels": options.channels, "layers": options.layers, "cells_per_stage": 1}
        sizes = {key: size for key, size in sizes.items() if key in takes}
        net = Supernet(get_space(space), executor=executor, seed=0, **sizes)
        self.step = BilevelStep(net, ImageClassification(10))
        generator = torch.Generator().manual_seed(0)
        shape = 2, options.batch, 3, options.size, options.size
        images = torch.randn(shape, generator=generator)
        targets = torch.randint(10, shape[:2], generator=generator)
        self.batches = [(images[i], targets[i]) for i in (0, 1)]
        # Of one thread the processor's own time counts, in which other programs have no part.
        self.clock = time.process_time if options.threads == 1 else time.perf_counter

    def seconds(self) -> float:
        """One step."""
        begin = self.clock()
        self.step(*self.batches, 0)
        return self.clock() - begin


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
    parser.add_argument("--spaces", nargs="+", metavar="NAME", help="registered spaces (all of images)")
    for name, value in {"channels": 8, "layers": 5, "batch": 16, "size": 32, "threads": 1, "pairs": 15}.items():
        parser.add_argument(f"--{name}", type=positive, default=value, metavar="N", help=f"default {value}")
    add_json(parser)
    parser.add_argument("--resume", action="store_true", help="go on from what --json has written so far")
    options = parser.parse_args(arguments)
    if options.resume and not options.json:
        parser.error("--resume goes on from the file of --json; give both")
    if options.pairs < 2:
        parser.error("--pairs must be 2 or more: one has no interval")
    return run(
        partial(measure, options), show, options, lambda result: any(r["high"] >= BAR for r in result["results"])
    )


if __name__ == "__main__":
    sys.exit(main())
