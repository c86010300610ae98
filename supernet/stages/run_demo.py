"""The demonstration as a function: search on the embedded digits, retrain, compare with chance, export, open with timm.

The control is two random cells of similar size under the same budget: published gains of architecture search are often
within the noise of the training, so a found cell means nothing without it.
"""

import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ..config import RetrainConfig, SearchConfig, from_mapping
from ..errors import SupernetError
from ..export import verify_export
from ..network import build
from ..space import Genotype, Space, space_of
from .run_export import export_retrained
from .run_retrain import Retrained, run_retrain
from .run_search import run_search

__all__ = ["run_demo"]

FOLDER = Path("runs") / "demo"
# Chosen for two cores: the search takes about a minute there, each retraining about half of one.
SEARCH: Mapping[str, object] = {
    "epochs": 12,
    "network": {"channels": 8, "layers": 5},
    "method": {"name": "darts_first_order", "warmup_epochs": 4},  # alphas wait until the weights mean something
    "weights": {"lr": 0.05},
    "alphas": {"lr": 0.02},  # 88 steps in all: at DARTS' own 3e-4, made for 20,000, alphas would stay where they began
}
NETWORK = {"channels": 12, "layers": 5}
RETRAIN: Mapping[str, object] = {
    "epochs": 16,
    "network": NETWORK,
    "recipe": {"lr": 0.05, "drop_path": 0.1, "auxiliary": 0.0},
}
SIMILAR = 0.1  # a random cell's network differs from the found one's parameters by at most this share
CONTROLS = 2


def run_demo(fresh: bool = False) -> None:
    """Run it in runs/demo, or go on there; `fresh` starts anew. Raises SupernetError where a step does not work."""
    begun = time.monotonic()
    say(f"1/4  searching the DARTS space on scikit-learn's digits, into {FOLDER / 'search'}")
    searched = run_search(from_mapping(SearchConfig, {**SEARCH, "run": run("search", fresh)}))
    say("2/4  retraining the found cell and two random cells of similar size, each from scratch")
    networks = {"found by the search": searched.genotype}
    networks |= {f"random {i + 1}": g for i, g in enumerate(similar(searched.genotype, CONTROLS))}
    trained: dict[str, Retrained] = {}
    for name, genotype in networks.items():
        folder = run(name.split(" by")[0].replace(" ", "-"), fresh)
        trained[name] = run_retrain(from_mapping(RetrainConfig, {**RETRAIN, "run": folder}), genotype=genotype)
    say(f"3/4  exporting the found network to {FOLDER / 'model'}")
    best = trained["found by the search"]
    model = export_retrained(best, FOLDER / "model")
    say('4/4  opening it in a fresh process: timm.create_model("local-dir:...", pretrained=True)')
    generator = torch.Generator().manual_seed(0)
    difference = verify_export(model, best.model, torch.randn(8, *best.data["input_size"], generator=generator))
    if difference:
        raise SupernetError(f"the exported network's outputs differ by {difference:.2g} from the trained one's")
    print(report(trained, searched.seconds, time.monotonic() - begun))


def run(name: str, fresh: bool) -> dict[str, object]:
    """The settings of one run folder of the demonstration."""
    return {"root": str(FOLDER), "name": name, "fresh": fresh}


def similar(genotype: Genotype, count: int) -> list[Genotype]:
    """Random points of the same space whose networks have about as many parameters, drawn from a fixed seed."""
    space: Space = space_of(genotype)
    rng, size, chosen = random.Random(0), parameters(genotype), list[Genotype]()
    while len(chosen) < count:
        candidate = space.sample(rng)
        if abs(parameters(candidate) - size) <= SIMILAR * size and candidate not in [genotype, *chosen]:
            chosen.append(candidate)
    return chosen


def parameters(genotype: Genotype) -> int:
    """Parameters of the network that is retrained here, counted without allocating them."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(genotype, in_chans=1, **NETWORK).parameters())


def report(trained: Mapping[str, Retrained], search_seconds: float, seconds: float) -> str:
    """The closing table, and where the files are."""
    lines = ["", f"{'network':<22}{'test accuracy':>14}{'parameters':>12}{'seconds':>10}"]
    for name, one in trained.items():
        count = sum(p.numel() for p in one.model.parameters())
        lines.append(f"{name:<22}{100 * one.metrics['test/top1']:>12.2f} %{count:>12,}{one.seconds:>10.1f}")
    lines += [
        "",
        f"The search took {search_seconds:.1f} s; this command took {seconds:.1f} s. The test split was read once",
        "a network, at its end: 360 images, 0.28 % each, so that cells of one size lie within each other's noise here.",
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
