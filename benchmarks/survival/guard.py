"""What the guard of the numbers costs: a bilevel step with it beside the same step without, as a ratio in one run.

    python benchmarks/survival/guard.py [--channels 16 --layers 8 --batch 8 --repeats 15 --device cpu] [--json]

Two equal networks take turns step by step, so that a busy moment of the machine falls on both; which of them begins
changes each time, and on the processor the time of this process is counted. `saving` is the check of all tensors before
a checkpoint, spread over the steps between two.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.hardware import hardware, synchronise
from benchmarks.common.report import describe
from benchmarks.common.script import add_device, add_json, add_sizes, run
from supernet.config import GuardConfig
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.runtime.device import pick
from supernet.runtime.guard import Guard
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep

CLASSES = 10
WARM_UP = 2  # steps: the first makes buffers and optimiser states
BETWEEN = 200  # steps between two checkpoints
SIZES = {"channels": 16, "layers": 8, "batch": 8, "size": 32, "repeats": 15, "threads": 1}


class Side:
    """One network with its guard, on or off."""

    def __init__(self, settings: dict[str, Any], skips: int) -> None:
        self.device = pick(settings["device"])
        network = {"channels": settings["channels"], "layers": settings["layers"], "num_classes": CLASSES, "seed": 0}
        self.net = Supernet(get_space("darts"), **network).to(self.device)
        self.guard = Guard(GuardConfig(skips=skips), self.net, self.device)
        self.bilevel = BilevelStep(self.net, ImageClassification(CLASSES), guard=self.guard)
        generator = torch.Generator().manual_seed(0)
        shape = settings["batch"], 3, settings["size"], settings["size"]
        images = torch.randn(shape, generator=generator).to(self.device)
        self.batch = images, torch.randint(CLASSES, shape[:1], generator=generator).to(self.device)
        self.steps = 0
        self.seconds: list[float] = []

    def step(self) -> float:
        """Seconds of one more step, the guard's count included."""

        def work() -> None:
            self.bilevel(self.batch, self.batch, epoch=0)
            if self.guard.end(self.steps):
                raise SupernetError("the benchmark's own numbers are not finite")

        self.steps += 1
        return self._timed(work)

    def check(self) -> float:
        """Seconds of the check before a checkpoint."""
        return self._timed(lambda: self.guard.check(self.bilevel.state_dict()))

    def _timed(self, work: Callable[[], None]) -> float:
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        synchronise(self.device)
        start = clock()
        work()
        synchronise(self.device)
        return clock() - start


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """The result as plain values; `ratio` is the median over pairs of steps, on divided by off."""
    torch.set_num_threads(settings["threads"])
    on, off = Side(settings, 3), Side(settings, 0)
    for _ in range(WARM_UP):
        on.step()
        off.step()
    for number in range(settings["repeats"]):
        for side in (on, off) if number % 2 else (off, on):
            side.seconds.append(side.step())
    pairs = [a / b for a, b in zip(on.seconds, off.seconds, strict=True)]
    saving = statistics.median(on.check() for _ in range(5))
    step = statistics.median(off.seconds)
    return {
        "benchmark": "guard",
        "settings": settings,
        "hardware": hardware(settings["device"]),
        "on": on.seconds,
        "off": off.seconds,
        "ratio": statistics.median(pairs),
        "check": saving,
        "saving": saving / (BETWEEN * step),
    }


def show(result: dict[str, Any]) -> str:
    """The result for people; the last line is the summary."""
    s = result["settings"]
    on, off = statistics.median(result["on"]), statistics.median(result["off"])
    return "\n".join(
        [
            f"one bilevel step: C={s['channels']}, {s['layers']} layers, batch {s['batch']}, {s['size']}x{s['size']}, "
            f"{s['repeats']} pairs",
            describe(result["hardware"]),
            f"guard on {on * 1e3:.1f} ms, off {off * 1e3:.1f} ms, a check before saving {result['check'] * 1e3:.0f} ms",
            f"guard: {result['ratio'] - 1:+.2%} of a step, and {result['saving']:.3%} for a checkpoint every {BETWEEN} "
            "steps",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times a bilevel step with the guard of the numbers and without.")
    add_sizes(parser, SIZES)
    add_device(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    return run(partial(measure, {name: getattr(options, name) for name in [*SIZES, "device"]}), show, options)


if __name__ == "__main__":
    sys.exit(main())
