"""The demonstration as a function: search on cluttered digits, retrain, compare with chance, export, open with timm.

The control is random cells of equal size under the same budget: published gains of architecture search are often within
the noise of the training, so a found cell means nothing without it. The data are such that cells differ on them
(`benchmarks/data/spread.py`); the plain digits saturate.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ..config import RetrainConfig, SearchConfig, from_mapping
from ..errors import SupernetError
from ..export import verify_export
from .controls.beside import beside_chance
from .run_export import export_retrained
from .run_retrain import Retrained, run_retrain
from .run_search import Searched, run_search

__all__ = ["retrained", "run_demo", "searched"]

FOLDER = Path("runs") / "demo"
SPACE, DATA = "nasbench201", "cluttered_digits"
NETWORK = {"channels": 8, "cells_per_stage": 1}
# Chosen for two cores: the search takes about a minute there, each retraining some seconds.
SEARCH: Mapping[str, object] = {
    "epochs": 12,
    "batch_size": 32,
    "space": {"name": SPACE},
    "data": {"name": DATA},
    "network": NETWORK,
    "method": {"name": "darts_first_order", "warmup_epochs": 4},  # alphas wait until the weights mean something
    "weights": {"lr": 0.05},
    "alphas": {"lr": 0.02},  # 250 steps in all: at DARTS' own 3e-4, made for 20,000, alphas would stay where they began
}
RETRAIN: Mapping[str, object] = {
    "epochs": 6,
    "batch_size": 32,
    "data": {"name": DATA},
    "network": NETWORK,
    "recipe": {"lr": 0.05, "drop_path": 0.0, "auxiliary": 0.0},
    "val_fraction": 0.0,  # all images train, and the last epoch counts
    "controls": 4,
}


def run_demo(fresh: bool = False) -> None:
    """Run it in runs/demo, or go on there; `fresh` starts anew. Raises SupernetError where a step does not work."""
    begun = time.monotonic()
    say(f"1/4  searching the space {SPACE} on cluttered digits, into {FOLDER / 'search'}")
    found = searched(FOLDER, 0, fresh)
    say(f"2/4  retraining {RETRAIN['controls']} random cells of equal size and the found one, each from scratch")
    best = retrained(found, FOLDER, 0, fresh)
    say(f"3/4  exporting the found network to {FOLDER / 'model'}")
    model = export_retrained(best, FOLDER / "model")
    say('4/4  opening it in a fresh process: timm.create_model("local-dir:...", pretrained=True)')
    generator = torch.Generator().manual_seed(0)
    difference = verify_export(model, best.model, torch.randn(8, *best.data["input_size"], generator=generator))
    if difference:
        raise SupernetError(f"the exported network's outputs differ by {difference:.2g} from the trained one's")
    print(report(best, found.seconds, time.monotonic() - begun))


def searched(root: Path, seed: int, fresh: bool = False) -> Searched:
    """The demonstration's search at a seed, in root/search."""
    return run_search(from_mapping(SearchConfig, {**SEARCH, "seed": seed, "run": run(root, "search", fresh)}))


def retrained(found: Searched, root: Path, seed: int, fresh: bool = False) -> Retrained:
    """What it found, retrained in root/found, and the random cells beside it."""
    config = from_mapping(RetrainConfig, {**RETRAIN, "seed": seed, "run": run(root, "found", fresh)})
    return run_retrain(config, genotype=found.genotype)


def run(root: Path, name: str, fresh: bool) -> dict[str, object]:
    """The settings of one run folder of the demonstration."""
    return {"root": str(root), "name": name, "fresh": fresh}


def report(best: Retrained, search_seconds: float, seconds: float) -> str:
    """The closing table, and where the files are."""
    size = sum(p.numel() for p in best.model.parameters())
    rows = [("found by the search", best.metrics["test/top1"], size, best.seconds)]
    rows += [(f"random {i}", one.score, one.parameters, one.seconds) for i, one in enumerate(best.controls, start=1)]
    lines = ["", f"{'network':<22}{'test accuracy':>14}{'parameters':>12}{'seconds':>10}"]
    lines += [f"{name:<22}{100 * score:>12.2f} %{count:>12,}{took:>10.1f}" for name, score, count, took in rows]
    lines += [
        "",
        f"found: {beside_chance(best.metrics['test/top1'], best.controls)}.",
        f"The search took {search_seconds:.1f} s; this command took {seconds:.1f} s. The test split was read once a",
        "network, at its end: 1,080 images, 0.09 % each.",
        f"  the found cells     {FOLDER / 'search' / 'genotype.json'}",
        f"  curves and cells    tensorboard --logdir {FOLDER}",
        f"  the exported model  {FOLDER / 'model'}: opened by timm in a fresh process with equal outputs",
        "Again from the start: supernet demo fresh. Your own images: supernet search data=folder data.root=PATH",
    ]
    return "\n".join(lines)


def say(text: str) -> None:
    """A step's headline, apart from the progress lines on stderr."""
    print(text, flush=True)
    sys.stderr.flush()
