"""How the time of one step grows: with candidate operations, edges, channels and batch; and that unused ones are free.

    python benchmarks/scaling.py --executor cpu                      # C=16, 8 layers, batch 8, 32x32, 2 threads
    python benchmarks/scaling.py --executor cuda --device cuda --batch 64 --bf16 --json

One thing changes at a time from the base, whose step is the product's (captured.py). The last rows are a forward and
backward in which every edge runs the first of 2 or of 7 candidates: `mask` says so on the host, `gate` on the device. A
candidate that is never chosen costs nothing where both take the same time.
"""
# E edges, O operations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.formulations import CLASSES, Batches, draw_batches
from benchmarks.hardware import hardware
from benchmarks.report import add_json, describe, table, tell
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.network.macro import Body
from supernet.space import get_space
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep
from supernet.train.device import autocast, pick, synchronise
from supernet.train.task import ImageClassification

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
    """One bilevel step; captured on a GPU where it can be."""
    device, numbers = pick(settings["device"]), itertools.count()
    net = network(settings, OPERATIONS[: settings["operations"]])
    batches = draw_batches(settings["batch"], settings["size"], device)
    bilevel = BilevelStep(net, ImageClassification(CLASSES), amp="bf16" if settings["bf16"] else "off")
    captured = CapturedStep(bilevel)

    def run() -> None:
        captured(batches["train"], batches["val"], epoch=0, number=next(numbers))

    for _ in range(captured.warm_up + 1 if device.type == "cuda" else 0):
        run()
    return run


def one_path(settings: dict[str, Any], candidates: int, by: str) -> Callable[[], Any]:
    """A forward and backward in which every edge runs the first of `candidates`; `by` "mask" or "gate"."""
    device = pick(settings["device"])
    net = network(settings, OPERATIONS[:candidates])
    batches: Batches = draw_batches(settings["batch"], settings["size"], device)
    body = cast(Body, net.body)
    if by == "gate" and getattr(body.executor, "name", "") not in GATED:
        raise SupernetError(f"the executors {' and '.join(GATED)} alone take a mask on the device")
    edges = net.alphas()[0].shape[0]
    chosen = torch.zeros(edges, candidates, device=device)
    chosen[:, 0] = 1
    mask: Any = chosen if by == "gate" else (chosen > 0).tolist()
    leaves = [chosen.clone().requires_grad_() for _ in body.sites]

    def run() -> None:
        net.zero_grad(set_to_none=True)
        images, labels = batches["train"]
        with autocast(device, "bf16" if settings["bf16"] else "off"):
            logits = body.run(images.contiguous(memory_format=torch.channels_last), leaves, [mask] * len(leaves))
        F.cross_entropy(cast(Tensor, logits).float(), labels).backward()

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
    found = [[timed(run) for run in runs] for _ in range(number)]
    return [statistics.median(times) for times in zip(*found, strict=True)]


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """The result as plain values: rows with what changed, its value, and seconds."""
    torch.set_num_threads(settings["threads"])
    device = pick(settings["device"])
    rows: list[dict[str, Any]] = []
    for key, values in GROWTH.items():
        for value in values:
            changed = max(int(settings["batch"] * value), 2) if key == "batch" else int(value)
            (median,) = seconds([step(settings | {key: changed})], device, settings["repeats"])
            row = {"what": key, "value": changed, "seconds": median}
            rows.append(row | ({"edges": sum(2 + i for i in range(changed))} if key == "nodes" else {}))
    for by in ("mask", "gate"):
        try:
            runs = [one_path(settings, candidates, by) for candidates in (2, 7)]
            medians = seconds(runs, device, settings["repeats"])
        except SupernetError as error:
            rows.append({"what": f"one path by {by}", "error": str(error).partition("\n")[0][:120]})
            continue
        rows += [
            {"what": f"one path by {by}", "value": candidates, "seconds": median}
            for candidates, median in zip((2, 7), medians, strict=True)
        ]
    return {"benchmark": "scaling", "settings": settings, "hardware": hardware(settings["device"]), "results": rows}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    s, rows, first = result["settings"], [], {}
    for r in result["results"]:
        if "error" in r:
            rows.append([r["what"], "-", "-", r["error"]])
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
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default {default}")
    parser.add_argument("--executor", default="auto", help="auto (default), torch, cpu, cuda")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    add_json(parser)
    options = parser.parse_args(arguments)
    try:
        result = measure({name: getattr(options, name) for name in [*SIZES, "executor", "device", "bf16"]})
    except SupernetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tell(show(result), result, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
