"""How the time of one step grows: with candidate operations, edges, channels and batch; and that unused ones are free.

    python benchmarks/steps/scaling.py --executor cpu                      # C=16, 8 layers, batch 8, 32x32, 2 threads
    python benchmarks/steps/scaling.py --executor cuda --device cuda --batch 64 --bf16 --json

One thing changes at a time from the base, whose step is the product's (captured.py). The last rows are a forward and
backward in which every edge runs the first of 2 or of 7 candidates: `mask` says so on the host, `gate` on the device. A
candidate that is never chosen costs nothing where both take the same time.
"""
# E edges, O operations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F

from benchmarks.common.hardware import hardware, synchronise
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, add_sizes, positive, run
from benchmarks.common.timing import Clock
from benchmarks.steps.formulations import CLASSES, Batches, draw_batches, own_step
from supernet.errors import SupernetError
from supernet.network import Mixture, Supernet
from supernet.runtime.device import autocast, pick
from supernet.space import get_space

OPERATIONS = (  # in the order in which they are added
    "sep_conv_3x3", "skip_connect", "dil_conv_3x3", "max_pool_3x3", "sep_conv_5x5", "avg_pool_3x3", "dil_conv_5x5",
    "none",
)  # fmt: skip
SIZES = {"channels": 16, "layers": 8, "batch": 8, "size": 32, "threads": 2, "repeats": 9, "nodes": 4, "operations": 8}
GROWTH = {"operations": (2, 4, 6, 8), "nodes": (1, 2, 3, 4), "channels": (8, 16, 32), "batch": (0.5, 1, 2)}
GATED = ("cpu", "cuda")  # the fused executors
BUDGET = 4.0  # seconds that the repeats of one row may take, above three


def network(settings: dict[str, Any], operations: tuple[str, ...]) -> Supernet:
    space = get_space("darts", nodes=settings["nodes"], operations=operations)
    sizes = {"channels": settings["channels"], "layers": settings["layers"], "num_classes": CLASSES}
    return Supernet(space, executor=settings["executor"], seed=0, **sizes).to(pick(settings["device"]))


def step(settings: dict[str, Any]) -> Callable[[], Any]:
    """One bilevel step; on a GPU a graph, and SupernetError where it cannot be one."""
    net = network(settings, OPERATIONS[: settings["operations"]])
    batches = draw_batches(settings["batch"], settings["size"], pick(settings["device"]))
    return own_step(net, batches, "bf16" if settings["bf16"] else "off", capture="auto")


def one_path(settings: dict[str, Any], candidates: int, by: str) -> Callable[[], Any]:
    """A forward and backward in which every edge runs the first of `candidates`; `by` "mask" or "gate"."""
    device = pick(settings["device"])
    net = network(settings, OPERATIONS[:candidates])
    batches: Batches = draw_batches(settings["batch"], settings["size"], device)
    if by == "gate" and (net.body.executor is None or net.body.executor.name not in GATED):
        raise SupernetError(f"of a mask on the device the executors {' and '.join(GATED)} alone make less work")
    edges = net.alphas()[0].shape[0]
    chosen = torch.zeros(edges, candidates, device=device)
    chosen[:, 0] = 1
    mask: Any = chosen if by == "gate" else (chosen > 0).tolist()
    leaves = tuple(chosen.clone().requires_grad_() for _ in net.sites)
    mixture = Mixture(leaves, (mask,) * len(leaves))

    def run() -> None:
        net.zero_grad(set_to_none=True)
        images, labels = batches["train"]
        with autocast(device, "bf16" if settings["bf16"] else "off"):
            logits = net.body.run(images.contiguous(memory_format=torch.channels_last), mixture)
        F.cross_entropy(logits.float(), labels).backward()

    return run


def seconds(runs: list[Callable[[], Any]], device: torch.device, repeats: int) -> list[float]:
    """Medians of functions that take turns, after two runs of each."""

    def timed(run: Callable[[], Any]) -> float:
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        return time.perf_counter() - start

    once = sum(min(timed(run) for _ in range(2)) for run in runs)
    number = max(3, min(repeats, int(BUDGET / max(once, 1e-9))))
    rounds = [[timed(run) for run in runs] for _ in range(number)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """The result as plain values: rows with what changed, its value, and seconds or an error.

    Raises SupernetError with the first error where no row could be measured.
    """
    torch.set_num_threads(settings["threads"])
    deadline = time.monotonic() + (settings["seconds"] or math.inf)
    clock = Clock(pick(settings["device"]), settings["repeats"])
    rows: list[dict[str, Any]] = []
    for key, values in GROWTH.items():
        for value in values:
            changed = max(int(settings["batch"] * value), 2) if key == "batch" else int(value)
            row = {"what": key, "value": changed}
            row |= {"edges": sum(2 + i for i in range(changed))} if key == "nodes" else {}
            rows += _tried([row], partial(_step_seconds, settings | {key: changed}), deadline)
    for by in ("mask", "gate"):
        paths = [{"what": f"one path by {by}", "value": candidates} for candidates in (2, 7)]
        rows += _tried(paths, partial(_path_seconds, settings, by, clock), deadline)
    if all("error" in row for row in rows):
        raise SupernetError(rows[0]["error"])
    return {"benchmark": "scaling", "settings": settings, "hardware": hardware(settings["device"]), "results": rows}


def _tried(rows: list[dict[str, Any]], work: Callable[[], list[float]], deadline: float) -> list[dict[str, Any]]:
    """The rows with their seconds, or with an error: one that fails, or that time does not reach, costs no other."""
    if time.monotonic() > deadline:
        return [row | {"error": "not measured: no time was left"} for row in rows]
    try:
        return [row | {"seconds": median} for row, median in zip(rows, work(), strict=True)]
    except (SupernetError, RuntimeError) as error:
        why = (str(error) or type(error).__name__).partition("\n")[0][:200]
        return [row | {"error": why} for row in rows]


def _step_seconds(settings: dict[str, Any]) -> list[float]:
    return seconds([step(settings)], pick(settings["device"]), settings["repeats"])


def _path_seconds(settings: dict[str, Any], by: str, clock: Clock) -> list[float]:
    """Of 2 and of 7 candidates. On a GPU the device's own, of a graph: the host's launches would hide a difference."""
    with clock.aside():
        runs = [one_path(settings, candidates, by) for candidates in (2, 7)]
    if clock.device.type == "cuda":
        return clock.seconds(*runs)
    return seconds(runs, clock.device, settings["repeats"])


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    s, rows, first = result["settings"], [], {}
    for r in result["results"]:
        if "error" in r:
            rows.append([r["what"], str(r["value"]), "-", r["error"]])
            continue
        smallest = first.setdefault(r["what"], r["seconds"])
        name = f"{r['what']} ({r['edges']} edges)" if "edges" in r else r["what"]
        rows.append([name, str(r["value"]), f"{r['seconds'] * 1e3:.2f}", f"{r['seconds'] / smallest:.2f}"])
    what = (
        f"executor {s['executor']}: one bilevel step from C={s['channels']}, {s['layers']} layers, batch {s['batch']}, "
        f"{s['size']}x{s['size']}, {s['nodes']} nodes, {s['operations']} candidates"
    )
    return "\n".join([what, describe(result["hardware"]), "", table(["what", "value", "ms", "of the first"], rows)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times a step of growing networks, and one-path steps.")
    add_sizes(parser, SIZES)
    parser.add_argument("--seconds", type=positive, metavar="S", help="begin no other row after so long (no limit)")
    parser.add_argument("--executor", default="auto", help="auto (default), torch, cpu, cuda")
    add_device(parser)
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    add_json(parser)
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in [*SIZES, "seconds", "executor", "device", "bf16"]}

    def failed(result: dict[str, Any]) -> bool:
        asked = (r for r in result["results"] if options.executor in GATED or not r["what"].endswith("gate"))
        return any("error" in r for r in asked)

    return run(partial(measure, settings), show, options, failed)


if __name__ == "__main__":
    sys.exit(main())
