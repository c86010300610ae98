"""One formulation in a process of its own, so that its peak memory is its own: takes a step whenever a line arrives.

    python benchmarks/worker.py '{"name": "torch", "channels": 16, ...}'

Standard output: a line of JSON once ready, a line with the seconds for each line read, and the peak memory at the end.
"""
# B batch, H height, W width

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import original
from benchmarks.hardware import hardware
from benchmarks.report import ORIGINAL
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.space import get_space
from supernet.train.bilevel import BilevelStep
from supernet.train.device import pick, synchronise
from supernet.train.task import ImageClassification

CLASSES = 10
Batches = dict[str, tuple[Tensor, Tensor]]  # images [B, 3, H, W] and labels [B] of "train" and "val"


def make(settings: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """(one bilevel step, number of weights without the alphas) of formulation `settings["name"]`."""
    device = torch.device(settings["device"])
    torch.manual_seed(0)
    shape = settings["batch"], 3, settings["size"], settings["size"]
    # The same two random batches each time: loading data is no part of the measurement.
    batches = {
        name: (torch.randn(shape).to(device), torch.randint(CLASSES, shape[:1]).to(device)) for name in ("train", "val")
    }
    arguments = {"channels": settings["channels"], "layers": settings["layers"]}
    if settings["name"] == ORIGINAL:
        plain = original.SearchNetwork(**arguments, classes=CLASSES).to(device)
        return original_step(plain, batches, settings["bf16"]), sum(p.numel() for p in plain.weights())
    net = Supernet(get_space("darts"), executor=settings["name"], num_classes=CLASSES, **arguments).to(device)
    # Its defaults are those of the paper, like the numbers below.
    step = BilevelStep(net, ImageClassification(CLASSES), amp="bf16" if settings["bf16"] else "off")
    return lambda: step(batches["train"], batches["val"], epoch=0), sum(p.numel() for p in net.weights())


def original_step(net: original.SearchNetwork, batches: Batches, bf16: bool) -> Callable[[], None]:
    """The step of the original formulation, with the optimisers of DARTS."""

    def loss(name: str) -> Tensor:
        images, labels = batches[name]
        with torch.autocast(images.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = net(images)
        return F.cross_entropy(logits.float(), labels)

    alpha_optimizer = torch.optim.Adam(net.alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    weight_optimizer = torch.optim.SGD(net.weights(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    return lambda: original.step(net, loss, alpha_optimizer, weight_optimizer, clip=5.0)


def resident_peak() -> int:
    """Highest resident memory of this process so far, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(settings: dict[str, Any]) -> None:
    """Answers each line read with the seconds of one step."""
    torch.set_num_threads(settings["threads"])
    device = pick(settings["device"])
    loaded = resident_peak()  # what python and the libraries take is not the formulation's
    take_step, parameters = make(settings)
    say({"parameters": parameters, "hardware": hardware(settings["device"])})
    for _ in sys.stdin:
        synchronise(device)
        start = time.perf_counter()
        take_step()
        synchronise(device)
        say({"seconds": time.perf_counter() - start})
    on_gpu = device.type == "cuda"
    say({"peak_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else resident_peak() - loaded})


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    try:
        serve(json.loads(sys.argv[1]))
    except SupernetError as error:
        say({"error": str(error)})
