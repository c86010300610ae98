"""What a method adds to the step of plain DARTS: alternating pairs of a step, and what a pass keeps in memory.

    python benchmarks/methods/cost.py                                   # every preset, 9 pairs, C=8, 5 layers, batch 16
    python benchmarks/methods/cost.py --methods gdas pc_darts --pairs 15 --json

Both steps run in this process, on one network each, and in turn first. A step is both halves where the alphas learn by
a gradient; `alpha_every` counts: a method whose alphas step every fifth time has a fifth of that half. Both networks
take the executor that `auto` takes for them, and `same` compares with plain DARTS by the method's own executor. What a
pass keeps is the bytes that autograd holds between the forward and the backward of the weights' half. Second halves
of a phase (schedules, selections, watchers) work between epochs, and are no part of a step.
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
from benchmarks.steps.pairs import interval

# What a method may cost, relative to plain DARTS by the same executor.
BARS = {
    "gdas": 0.35, "spos": 0.35, "random_ws": 0.35, "pc_darts": 0.5, "beta_darts": 1.1, "drnas": 1.1,
    "darts_minus": 1.1, "lambda_darts": 2.2,
}  # fmt: skip
WARM_UP = 3  # steps


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each method the ratio of the pairs, and the bytes that a pass keeps."""
    import torch

    from benchmarks.common.hardware import hardware
    from supernet.presets import preset_names

    torch.set_num_threads(options.threads)
    names = options.methods or [name for name in preset_names("method") if name != "darts"]
    results = []
    for name in names:
        results.append(compare(name, options))
        print(f"{name}: {results[-1]['ratio']:.2f}", file=sys.stderr, flush=True)
    settings = {key: getattr(options, key) for key in ("channels", "layers", "batch", "size", "threads", "pairs")}
    return {"benchmark": "methods", "settings": settings, "hardware": hardware("cpu"), "results": results}


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The seconds of a method's step and of plain DARTS' ones, pair by pair; or why the space does not take it."""
    from supernet.errors import SupernetError

    try:
        method = Side(name, "auto", options)
    except SupernetError as error:
        return {"name": name, "refused": str(error), "ratio": float("nan")}
    own = method.executor
    sides = {"method": method, "auto": Side("darts", "auto", options), "same": Side("darts", own, options)}
    for side in sides.values():
        for _ in range(WARM_UP):
            side.seconds()
    seconds: dict[str, list[float]] = {key: [] for key in sides}
    for number in range(options.pairs):
        for key in sides if number % 2 == 0 else reversed(sides):
            seconds[key].append(sides[key].seconds())
    against = {
        key: interval([m / d for m, d in zip(seconds["method"], seconds[key], strict=True)]) for key in ("auto", "same")
    }
    return {
        "name": name, "executor": own, "seconds": seconds, **against["same"], "against auto": against["auto"],
        "bytes": method.kept() / sides["same"].kept(), "bar": BARS.get(name),
    }  # fmt: skip


class Side:
    """One network, and the step of one method on fixed batches."""

    def __init__(self, name: str, executor: str, options: argparse.Namespace) -> None:
        import torch

        from supernet.config import SearchConfig, from_mapping
        from supernet.network import Supernet
        from supernet.presets import preset
        from supernet.space import get_space
        from supernet.tasks.classification import ImageClassification
        from supernet.train.bilevel import BilevelStep

        config = from_mapping(SearchConfig, preset("method", name))
        sizes = {**config.network, "channels": options.channels, "layers": options.layers}  # equal for all
        net = Supernet(get_space("darts"), executor=executor, seed=0, **sizes)
        self.step = BilevelStep(
            net, ImageClassification(10), method=config.method, weights=config.weights, alphas=config.alphas
        )
        self.executor = settled(net) if executor == "auto" else executor
        self.every = config.method.alpha_every if self.step.method.hypergradient.learns else 0
        generator = torch.Generator().manual_seed(0)
        shape = 2, options.batch, 3, options.size, options.size
        images, targets = torch.randn(shape, generator=generator), torch.randint(10, shape[:2], generator=generator)
        self.batches = [(images[i], targets[i]) for i in (0, 1)]
        self.number = 0

    def seconds(self) -> float:
        """One step, or as many as there are to one of the alphas, divided by their number."""
        times = self.every or 1
        begin = time.perf_counter()
        for _ in range(times):
            learns = bool(self.every) and self.number % self.every == 0
            self.step(self.batches[0], self.batches[1] if learns else None, 0, self.number)
            self.number += 1
        return (time.perf_counter() - begin) / times

    def kept(self) -> int:
        """The bytes that autograd holds when the forward of the weights' half has ended, each storage once."""
        import torch

        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.step.prepare(0, self.number)
        parameters = {p.untyped_storage().data_ptr() for p in self.step.net.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.step.weight_gradients(self.batches[0])
        return sum(size for place, size in seen.items() if place not in parameters)


def settled(net: Any) -> str:
    """The executor that a search would take for `net`, which runs by it from now on."""
    import torch

    from supernet.network.cells.cell import MixedCell
    from supernet.network.executor.automatic import choose, mostly_separable

    cell = next(m for m in net.body.modules() if isinstance(m, MixedCell))
    name, _ = choose(torch.device("cpu"), torch.float32, cell.hooks is not None, not mostly_separable(cell))
    net.use(name)
    return name


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["method", "executor", "s", "ratio", "95 % from", "to", "bar", "to auto", "memory"]
    rows = [
        [
            r["name"], r["executor"], f"{statistics.median(r['seconds']['method']):.3f}",
            *(f"{r[key]:.2f}" for key in ("ratio", "low", "high")), str(r["bar"] or ""),
            f"{r['against auto']['ratio']:.2f}", f"{r['bytes']:.2f}",
        ]
        for r in result["results"] if "refused" not in r
    ]  # fmt: skip
    refused = [f"{r['name']}: {r['refused']}" for r in result["results"] if "refused" in r]
    return "\n".join([describe(result["hardware"]), str(result["settings"]), "", table(header, rows), *refused])


def missed(result: dict[str, Any]) -> bool:
    """Whether some method certainly costs more than its bar."""
    return any(r["low"] > r["bar"] for r in result["results"] if r.get("bar"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times the steps of methods against that of plain DARTS.")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="presets (all)")
    for name, value in {"channels": 8, "layers": 5, "batch": 16, "size": 32, "threads": 1, "pairs": 9}.items():
        parser.add_argument(f"--{name}", type=positive, default=value, metavar="N", help=f"default {value}")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.pairs < 2:
        parser.error("--pairs must be 2 or more: one has no interval")
    return run(partial(measure, options), show, options, missed)


if __name__ == "__main__":
    sys.exit(main())
