"""Peak memory of one first-order bilevel step of the DARTS search network, measured and predicted, side by side.

    python benchmarks/cost/memory.py [--channels 16 --layers 8 --batch 8 --size 32 --threads 2]
    python benchmarks/cost/memory.py --formulations torch cpu cpu+checkpoint

Measured is what comes on top of python and the loaded libraries, in a process for each formulation: on the processor
the growth of its resident set from just before the network is built, on a GPU `torch.cuda.max_memory_allocated`.
Predicted is what `supernet doctor memory` says, which counts bytes of tensors. `share` is that of the original.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import ORIGINAL, describe, table
from benchmarks.common.script import run
from benchmarks.common.worker import WARM_UP, take_turns
from benchmarks.steps.step import parser

USUAL = {
    "cpu": ["reference", "torch", "torch+checkpoint", "cpu", "cpu+checkpoint"],
    "cuda": ["torch", "torch+checkpoint", "cuda", "cuda+checkpoint"],
}
BAR = 1 / 3  # of the original's peak at most, on the processor


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values; raises Failure where the original cannot run."""
    keys = ("channels", "layers", "batch", "size", "threads", "device", "bf16")
    settings = {"part": "step"} | {key: getattr(options, key) for key in keys}
    usual = USUAL["cpu" if options.device == "cpu" else "cuda"]
    names = list(dict.fromkeys([ORIGINAL, *(options.formulations or usual)]))
    hardware, results = take_turns(settings, names, options.repeats, options.limit)
    most = results[0]["peak_bytes"]
    for one in results:
        if "error" not in one:
            one["share"] = one["peak_bytes"] / most
            one |= _predicted(settings | {"name": one["name"]})
    settings |= {"warm_up": WARM_UP, "repeats": options.repeats}
    return {"benchmark": "memory", "settings": settings, "hardware": hardware, "results": results}


def _predicted(settings: dict[str, Any]) -> dict[str, Any]:
    """Whatever goes wrong with it, the row has been measured."""
    try:
        return {"predicted": predict(settings)}
    except Exception as error:
        why = (str(error) or type(error).__name__).partition("\n")[0][:200]
        return {"predicted": None, "predicted_error": why}


def predict(settings: dict[str, Any]) -> dict[str, int] | None:
    """Bytes by what they are for; None for formulations that are not a network of the project.

    torch is loaded here, when the measurements are done: a child's peak memory starts at what its parent had.
    """
    executor, *variants = settings["name"].split("+")
    if executor == ORIGINAL:
        return None
    import torch

    from supernet.config import GuardConfig
    from supernet.data.loader import Batch
    from supernet.network import Supernet
    from supernet.space import get_space
    from supernet.stages.footprint import footprint_of_step
    from supernet.tasks.classification import ImageClassification

    size, batch = settings["size"], settings["batch"]
    number = torch.zeros(batch, dtype=torch.int64)
    like = Batch(torch.empty(batch, 3, size, size, device="meta"), number, number)
    own = {key: settings[key] for key in ("channels", "layers")} | {"checkpoint": "checkpoint" in variants}
    net = Supernet(get_space("darts"), executor=executor, **own)
    amp, device = "bf16" if settings["bf16"] else "off", torch.device(settings["device"])
    guard = GuardConfig()  # as the measured steps
    return dict(footprint_of_step(net, ImageClassification(10), [like, like], device, guard=guard, amp=amp).parts)


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["formulation", "measured MiB", "share", "predicted MiB", "activations", "transients", "median s"]
    rows, lines = [], []
    for r in result["results"]:
        if "error" in r:
            rows.append([r["name"], *"-" * (len(header) - 1)])
            lines.append(f"{r['name']}: {r['error']}")
            continue
        if "predicted_error" in r:
            lines.append(f"{r['name']}: not predicted: {r['predicted_error']}")
        parts = r["predicted"]
        sizes = ["-"] * 3
        if parts is not None:
            sizes = [f"{n / 2**20:.0f}" for n in (sum(parts.values()), parts["activations kept"], parts["transients"])]
        rows.append([r["name"], f"{r['peak_bytes'] / 2**20:.0f}", f"{r['share']:.2f}", *sizes, f"{r['median']:.3f}"])
    s = result["settings"]
    what = (
        f"peak memory of one bilevel step above the libraries: C={s['channels']}, {s['layers']} layers, "
        f"batch {s['batch']}, {s['size']}x{s['size']}, {'bf16' if s['bf16'] else 'float32'}"
    )
    if s["device"] == "cpu":
        lines.append(f"bar on the processor: a share of at most {BAR:.2f}")
    return "\n".join([what, describe(result["hardware"]), "", table(header, rows), *lines])


def main(arguments: list[str] | None = None) -> int:
    own = parser("Peak memory of one bilevel step of the DARTS search network, measured and predicted.")
    own.set_defaults(repeats=1)
    options = own.parse_args(arguments)
    asked = options.formulations or []

    def failed(result: dict[str, Any]) -> bool:
        return any("error" in r or "predicted_error" in r for r in result["results"] if r["name"] in asked)

    return run(partial(measure, options), show, options, failed)


if __name__ == "__main__":
    sys.exit(main())
