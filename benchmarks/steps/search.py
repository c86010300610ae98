"""A whole search: images a second, and the time that 50 epochs of DARTS on CIFAR-10 would take at that rate.

    python benchmarks/steps/search.py --steps 20 --batch 8                         # drawn images of CIFAR-10's shape
    python benchmarks/steps/search.py --device cuda --bf16 --data ../data/cifar10   # holds cifar-10-batches-py

What runs is the product's own program of a search (`supernet.train.search`): its data path with crop, flip and cutout,
its step (a CUDA graph on a GPU), its guard. 50 epochs are 390 steps each of 64 images for the weights and 64 for the
alphas, 39,000 passes in all; after each epoch comes a validation of the alphas' 25,000 images, timed once.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.footprint import Footprint
from benchmarks.common.hardware import hardware, synchronise
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, add_sizes, run
from benchmarks.steps.formulations import CLASSES
from supernet.config import DataConfig, SearchConfig
from supernet.data.augment import Augment
from supernet.data.memory.arrays import from_arrays
from supernet.data.splits import Splits, open_data
from supernet.runtime.device import pick
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.search import SearchProgram

EPOCHS, IMAGES = 50, 25_000  # of a search; images an epoch for the weights, and as many for the alphas
WARM_UP = 6  # steps: more than come before a captured one
SIZES = {"channels": 16, "layers": 8, "batch": 64, "size": 32, "threads": 2, "steps": 100, "images": 50_000}
LIKE_CIFAR = Augment(pad=4, flip=True, cutout=16, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))


def open_images(settings: dict[str, Any]) -> Splits:
    """CIFAR-10 from a folder, or as many drawn images of its shape."""
    if settings["data"]:
        return open_data(DataConfig(name="cifar10", root=settings["data"]), seed=0)
    draw = torch.Generator().manual_seed(0)
    shape = settings["images"], 3, settings["size"], settings["size"]
    images = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
    return from_arrays((images, torch.arange(settings["images"]) % CLASSES), augment=LIKE_CIFAR)


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """The result as plain values."""
    torch.set_num_threads(settings["threads"])
    device = pick(settings["device"])
    config = SearchConfig(
        batch_size=settings["batch"],
        device=settings["device"],
        amp="bf16" if settings["bf16"] else "off",
        executor=settings["executor"],
        capture=settings["capture"],
        network={"channels": settings["channels"], "layers": settings["layers"]},
    )
    splits, footprint = open_images(settings), Footprint(device)
    program = SearchProgram(config, get_space("darts"), splits, ImageClassification(CLASSES), device)
    try:
        program.start()
        rate = _run(program, settings["steps"], device)
        validation = _validate(program, device) if settings["validate"] else None
        memory = footprint.peak()
        chosen = program.net.body.executor
        executor = chosen.name if chosen is not None else ""
        why_not = program.stepper.why_not
    finally:
        program.close()
    steps = EPOCHS * (IMAGES // settings["batch"])
    minutes = steps * rate["seconds_per_step"] / 60
    return {
        "benchmark": "search",
        "settings": settings,
        "hardware": hardware(settings["device"]),
        "executor": executor,
        "captured": program.stepper.captured,
        "why_not_captured": why_not,
        **rate,
        **memory,
        "images_per_second": 2 * settings["batch"] / rate["seconds_per_step"],
        "steps": steps,
        "minutes_of_steps": minutes,
        "validation": validation,
        "minutes": minutes + EPOCHS * validation["seconds"] / 60 if validation else None,
    }


def _run(program: SearchProgram, steps: int, device: torch.device) -> dict[str, Any]:
    """Steps of the program, over as many epochs as they take; those of the warm-up do not count."""
    done, start, sums = 0, 0.0, {}
    while done < WARM_UP + steps:
        epoch, first = divmod(done, program.steps)
        for batch in program.batches(epoch, first):
            if done == WARM_UP:
                synchronise(device)
                start = time.perf_counter()
            if done == WARM_UP + steps:
                break
            sums = dict(program.step(batch, epoch, done))
            done += 1
    synchronise(device)
    seconds = time.perf_counter() - start
    return {"seconds_per_step": seconds / steps, "last": program.metrics(sums)}


def _validate(program: SearchProgram, device: torch.device) -> dict[str, Any]:
    """What ends an epoch, timed; `top1` tells whether the network has learnt."""
    synchronise(device)
    start = time.perf_counter()
    metrics = program.end_epoch(0)
    synchronise(device)
    return {"seconds": time.perf_counter() - start, "top1": metrics["val/top1"]}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    s, v = result["settings"], result["validation"]
    how = "one CUDA graph a step" if result["captured"] else f"no CUDA graph: {result['why_not_captured']}"
    what = (
        f"search: C={s['channels']}, {s['layers']} layers, batch {s['batch']}, {'bf16' if s['bf16'] else 'float32'}, "
        f"{s['data'] or 'drawn images'}; executor {result['executor']}, {how}"
    )
    rows = [
        ["ms a step", f"{result['seconds_per_step'] * 1e3:.2f}"],
        ["images a second", f"{result['images_per_second']:.0f}"],
        [f"minutes of {EPOCHS} epochs, steps alone", f"{result['minutes_of_steps']:.1f}"],
        ["loss of the last training batch", f"{result['last'].get('train/loss', float('nan')):.3f}"],
        ["peak MiB", f"{result['peak_bytes'] / 2**20:.0f}"],
    ]
    if v is not None:
        rows += [
            ["seconds of a validation", f"{v['seconds']:.2f}"],
            ["its share of right answers", f"{v['top1']:.3f}"],
            [f"minutes of {EPOCHS} epochs, with them", f"{result['minutes']:.1f}"],
        ]
    return "\n".join([what, describe(result["hardware"]), "", table(["what", "value"], rows)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times a search and projects 50 epochs of DARTS on CIFAR-10.")
    add_sizes(parser, SIZES)
    parser.add_argument("--data", metavar="FOLDER", help="folder with CIFAR-10's batches (default: drawn images)")
    parser.add_argument("--executor", default="auto", help="auto (default), torch, cpu, cuda")
    parser.add_argument("--capture", choices=("auto", "off"), default="auto", help="a CUDA graph a step (auto)")
    add_device(parser)
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument("--validate", action="store_true", help="time the validation that ends an epoch as well")
    add_json(parser)
    options = parser.parse_args(arguments)
    names = [*SIZES, "data", "executor", "capture", "device", "bf16", "validate"]
    return run(partial(measure, {name: getattr(options, name) for name in names}), show, options)


if __name__ == "__main__":
    sys.exit(main())
