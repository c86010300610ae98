"""Seconds and memory of one whole first-order bilevel step of the DARTS search network.

    python benchmarks/step.py [--channels 16 --layers 8 --batch 8 --size 32 --threads 2 --executors reference torch]

A step updates the alphas (Adam, on a validation batch) and then the weights (SGD with momentum, clipped, on a training
batch). The original formulation and each executor run in processes of their own and take turns, step by step, so that
a busy moment of the machine falls on all of them. This process does not load torch: a child's peak memory starts at
what its parent had.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import ORIGINAL, add_json, describe, table, tell

WORKER = Path(__file__).resolve().with_name("worker.py")
WARM_UP = 2  # steps: the first makes buffers and optimiser states, the second runs with them


class Failure(RuntimeError):
    """A worker ended before its time; the text says why."""


class Worker:
    """A process that takes a step of one formulation when asked."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.name = settings["name"]
        threads = str(settings["threads"])
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        )
        self.facts: dict[str, Any] = {}
        self.seconds: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.__exit__(None, None, None)  # closes its pipes and waits for its end

    def wait(self) -> None:
        """Until it has loaded its libraries and built its network."""
        self.facts = self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        message = json.loads(line) if line else {"error": "ended without an answer; its message is above"}
        if "error" in message:
            raise Failure(f"{self.name}: {message['error']}")
        return message

    def step(self) -> float:
        """Seconds of one more step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._hear()["seconds"]

    def result(self, slow: float) -> dict[str, Any]:
        """Ends the process; what was measured, as plain values, beside a formulation that takes `slow` seconds."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        median = statistics.median(self.seconds)
        return {
            "name": self.name,
            "seconds": self.seconds,
            "median": median,
            "speed_up": slow / median,
            "peak_bytes": self._hear()["peak_bytes"],
            "parameters": self.facts["parameters"],
        }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values; raises Failure where a formulation cannot run."""
    settings = {
        key: getattr(options, key) for key in ("channels", "layers", "batch", "size", "threads", "device", "bf16")
    }
    with ExitStack() as stack:
        names = dict.fromkeys([ORIGINAL, *options.executors])
        workers = [stack.enter_context(Worker({"name": name} | settings)) for name in names]
        for worker in workers:
            worker.wait()
        for _ in range(WARM_UP):
            for worker in workers:
                worker.step()
        for _ in range(options.repeats):
            for worker in workers:
                worker.seconds.append(worker.step())
        slow = statistics.median(workers[0].seconds)
        results = [worker.result(slow) for worker in workers]
    settings |= {"warm_up": WARM_UP, "repeats": options.repeats}
    return {"benchmark": "step", "settings": settings, "hardware": workers[0].facts["hardware"], "results": results}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["formulation", "median s", "min", "max", "speed-up", "peak MiB", "parameters"]
    rows = [
        [
            r["name"],
            *(f"{value:.3f}" for value in (r["median"], min(r["seconds"]), max(r["seconds"]))),
            f"{r['speed_up']:.2f}",
            f"{r['peak_bytes'] / 2**20:.0f}",
            f"{r['parameters']:,}",
        ]
        for r in result["results"]
    ]
    s = result["settings"]
    what = (
        f"one bilevel step: C={s['channels']}, {s['layers']} layers, batch {s['batch']}, {s['size']}x{s['size']}, "
        f"{'bf16' if s['bf16'] else 'float32'}, {s['repeats']} repeats"
    )
    return "\n".join([what, describe(result["hardware"]), "", table(header, rows)])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times one bilevel step of the DARTS search network.")
    for name, default in {"channels": 16, "layers": 8, "batch": 8, "size": 32, "threads": 2, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"default {default}")
    parser.add_argument(
        "--executors", nargs="+", default=["reference", "torch"], metavar="NAME", help="what to compare"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    add_json(parser)
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        result = measure(options)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    tell(show(result), result, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
