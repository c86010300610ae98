"""What saving costs a search: the time of a checkpoint every so many steps, as a share of the time of those steps.

    python benchmarks/survival/checkpoint.py [--every 200 --channels 16 --layers 8 --batch 8 --rounds 8]

Blocks of bilevel steps of the DARTS search network take turns in one process: without a checkpoint, with one that is
written in the background, with one that is waited for. The time that a block with a checkpoint takes over the block
without one is the cost of one save with all that it does to the steps beside it; it is spread over `--every` steps. So
one save is measured many times, and not once in a run of hundreds of steps whose own pace changes more than that.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.hardware import hardware, synchronise
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, add_sizes, run
from benchmarks.common.worker import WARM_UP
from supernet.network import Supernet
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.state import rng_state
from supernet.runtime.device import pick
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep

CLASSES = 10
WAYS = ("none", "background", "waiting")


def make(options: argparse.Namespace) -> BilevelStep:
    torch.manual_seed(0)
    net = Supernet(get_space("darts"), num_classes=CLASSES, channels=options.channels, layers=options.layers)
    return BilevelStep(net.to(options.device), ImageClassification(CLASSES))


def stepper(step: BilevelStep, options: argparse.Namespace) -> Callable[[], Any]:
    """One step on two random batches, the same each time: loading data is no part of the measurement."""
    shape = options.batch, 3, options.size, options.size
    train, val = (
        (torch.randn(shape).to(options.device), torch.randint(CLASSES, shape[:1]).to(options.device)) for _ in range(2)
    )
    return lambda: step(train, val, epoch=0)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values."""
    torch.set_num_threads(options.threads)
    device = pick(options.device)
    step = make(options)
    take = stepper(step, options)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    held: list[float] = []  # how long a save in the background keeps the step that asks for it
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoints = Checkpoints(folder)
        number = 0

        def block(way: str) -> float:
            nonlocal number
            synchronise(device)
            start = time.perf_counter()
            if way != "none":
                number += 1
                state = {"program": step.state_dict(), "rng": rng_state()}
                (checkpoints.save_later if way == "background" else checkpoints.save)(number, state)
                if way == "background":
                    held.append(time.perf_counter() - start)
            for _ in range(options.block):
                take()
            synchronise(device)
            checkpoints.wait()  # what is not on disk by then is counted too
            return time.perf_counter() - start

        for _ in range(WARM_UP):
            take()
        for way in WAYS:
            block(way)
        held.clear()
        for i in range(options.rounds):
            for way in (*WAYS[i % 3 :], *WAYS[: i % 3]):  # none of them always comes after the same other
                seconds[way].append(block(way))
        size = sum(path.stat().st_size for path in max(Path(folder).iterdir()).iterdir())
    return result(options, seconds, held, size)


def result(
    options: argparse.Namespace, seconds: dict[str, list[float]], held: list[float], size: int
) -> dict[str, Any]:
    step = statistics.median(seconds["none"]) / options.block
    rows = []
    for way in WAYS[1:]:
        extra = [with_one - without for with_one, without in zip(seconds[way], seconds["none"], strict=True)]
        cost = statistics.median(extra)
        rows.append({"name": way, "save": cost, "ratio": cost / (options.every * step), "extra": extra})
    names = ("every", "block", "rounds", "channels", "layers", "batch", "size", "threads", "device")
    return {
        "benchmark": "checkpoint",
        "settings": {name: getattr(options, name) for name in names},
        "hardware": hardware(options.device),
        "bytes": size,
        "step": step,
        "held": statistics.median(held),
        "results": rows,
    }


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    s = result["settings"]
    what = (
        f"a checkpoint every {s['every']} steps: C={s['channels']}, {s['layers']} layers, batch {s['batch']}, "
        f"{s['size']}x{s['size']}, {result['bytes'] / 2**20:.1f} MiB, {s['rounds']} rounds of {s['block']} steps"
    )
    rows = [
        [r["name"], f"{r['save']:.3f}", f"{min(r['extra']):.3f}", f"{max(r['extra']):.3f}", f"{r['ratio']:.2%}"]
        for r in result["results"]
    ]
    header = ["written", "a save, s", "min", "max", "of the step time"]
    times = f"a step takes {result['step']:.3f} s; a save in the background holds it up for {result['held']:.3f} s"
    return "\n".join([what, describe(result["hardware"]), times, "", table(header, rows)])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times what checkpoints cost a search.")
    numbers = {"every": 200, "block": 4, "rounds": 8}
    numbers |= {"channels": 16, "layers": 8, "batch": 8, "size": 32, "threads": 2}
    add_sizes(parser, numbers)
    add_device(parser)
    parser.add_argument("--folder", type=Path, help="where to save: the disk that is measured (the temporary folder)")
    add_json(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run(partial(measure, options), show, options)


if __name__ == "__main__":
    sys.exit(main())
