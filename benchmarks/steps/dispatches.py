"""What one bilevel step asks of torch: operations dispatched, and its peak of bytes; of one checkout or of two.

    python benchmarks/steps/dispatches.py                      # this checkout
    python benchmarks/steps/dispatches.py BEFORE AFTER         # two folders; what differs, operation by operation
    python benchmarks/steps/dispatches.py BEFORE AFTER --formulations torch cpu --json

The counts are exact and the same on a busy machine. Operations are those that reach torch's dispatcher, of the backward
too; an operator of our own counts once. The peak is that of all allocations of a step above what is there before it,
on the processor. Each formulation of each checkout has a process of its own. The exit code is 1 where AFTER dispatches
more than BEFORE or has another peak.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.checkouts import environment, interpreter, module_of_steps
from benchmarks.common.report import table
from benchmarks.common.script import add_json, add_sizes, run
from supernet.errors import SupernetError

HERE = Path(__file__).resolve().parents[2]
SIZES = {"channels": 16, "layers": 3, "batch": 2, "size": 8, "threads": 1}
SHOWN = 12  # operations whose counts differ
# Run by the interpreter of a checkout, which knows nothing of this script.
COUNT = """
import collections, gc, importlib, json, sys
import torch
from torch.utils._python_dispatch import TorchDispatchMode

module, root, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(settings["threads"])
step, _ = importlib.import_module(module).make(settings)
foreign = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in ("supernet", "benchmarks")
           and getattr(m, "__file__", None) and not m.__file__.startswith(root + "/")]
assert not foreign, f"imported from another checkout: {foreign[0]}"
for _ in range(3):  # buffers, states of the optimisers, kernels
    step()

class Counter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))

counters = [Counter(), Counter()]
for counter in counters:
    with counter:
        step()
assert counters[0].counts == counters[1].counts, "two steps differ in their operations"
gc.collect()
gc.disable()
with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
    step()
events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
held = peak = 0
for event in sorted(events, key=lambda e: e.start_ns()):
    held += event.nbytes()
    peak = max(peak, held)
print(json.dumps({"operations": dict(counters[0].counts), "peak_bytes": peak, "allocations": len(events)}))
"""


def count(checkout: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Operations by name, the peak of bytes, and the number of allocations and releases of one step."""
    arguments = [module_of_steps(checkout), str(checkout), json.dumps(settings)]
    done = subprocess.run(
        [interpreter(checkout), "-c", COUNT, *arguments],
        cwd=checkout,
        env=environment(settings["threads"], checkout),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SupernetError(f"{checkout}, {settings['name']}: exit code {done.returncode}: {last}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each formulation what each checkout does."""
    checkouts = [Path(folder).resolve() for folder in options.checkouts or [HERE]]
    settings = {name: getattr(options, name) for name in SIZES} | {"part": options.part, "device": "cpu", "bf16": False}
    results = [
        {"name": name, "counts": [count(checkout, settings | {"name": name}) for checkout in checkouts]}
        for name in options.formulations
    ]
    where = {"name": "counted"}  # the same on any machine with this torch
    names = [str(checkout) for checkout in checkouts]
    return {"benchmark": "dispatches", "settings": settings, "hardware": where, "checkouts": names, "results": results}


def dispatched(counts: dict[str, Any]) -> int:
    """How many operations there were in all."""
    return sum(counts["operations"].values())


def worse(result: dict[str, Any]) -> bool:
    """Whether any formulation dispatches more in the last checkout than in the first, or has another peak."""
    pairs = [(row["counts"][0], row["counts"][-1]) for row in result["results"]]
    return any(dispatched(a) > dispatched(b) or a["peak_bytes"] != b["peak_bytes"] for b, a in pairs)


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    rows, lines = [], []
    for row in result["results"]:
        first, last = row["counts"][0], row["counts"][-1]
        for checkout, counts in zip(result["checkouts"], row["counts"], strict=True):
            peak = f"{counts['peak_bytes']:,}"
            rows.append([row["name"], checkout, str(dispatched(counts)), peak, str(counts["allocations"])])
        names = {*first["operations"], *last["operations"]}
        change = {name: last["operations"].get(name, 0) - first["operations"].get(name, 0) for name in names}
        largest = sorted((name for name in names if change[name]), key=lambda name: (-abs(change[name]), name))[:SHOWN]
        lines += [f"{row['name']}: {name} {change[name]:+d}" for name in largest]
    header = ["formulation", "checkout", "operations", "peak bytes", "allocations"]
    return "\n".join([table(header, rows), *lines])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Counts the operations and the bytes of one bilevel step.")
    parser.add_argument("checkouts", nargs="*", metavar="CHECKOUT", help="folders, the one before first (this one)")
    parser.add_argument("--formulations", nargs="+", default=["torch", "cpu"], metavar="NAME", help="default torch cpu")
    parser.add_argument("--part", choices=("step", "pass"), default="step", help="a bilevel step (default), or a pass")
    add_sizes(parser, SIZES)
    add_json(parser)
    options = parser.parse_args(arguments)
    return run(partial(measure, options), show, options, worse)


if __name__ == "__main__":
    sys.exit(main())
