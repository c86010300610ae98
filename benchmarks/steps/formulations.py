"""Formulations of the DARTS search network by name, each as a function that the scripts call and time.

    original                  original.py: eager PyTorch, NCHW
    original+channels_last    the same in the other memory format
    original+compiled         under torch.compile; +edges compiles edge by edge, +graphs adds CUDA graphs
    NAME                      the project's own step, its guard included, over the network with the executor NAME
    NAME+captured             the same as one CUDA graph (on the processor: without a graph)
    NAME+checkpoint           the inside of each cell is computed again in the backward

`part` "step" is one first-order bilevel step, "pass" one forward and backward with the gradients of everything.
"""
# B batch, C channels, H height, W width

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.report import ORIGINAL
from benchmarks.steps import original
from supernet.config import GuardConfig
from supernet.errors import SupernetError, unknown
from supernet.network import EXECUTORS, Supernet
from supernet.runtime.device import autocast, pick
from supernet.runtime.guard import Guard
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep

__all__ = ["CLASSES", "PARTS", "Batches", "Run", "draw_batches", "make", "own_step"]

CLASSES = 10
PARTS = ("step", "pass")
CLIP = 5.0  # DARTS: the largest norm of the weights' gradient
VARIANTS = ("channels_last", "compiled", "edges", "graphs")
OWN_VARIANTS = ("captured", "checkpoint")
Batch = tuple[Tensor, Tensor]  # images [B, 3, H, W] and labels [B]
Batches = dict[str, Batch]  # "train" and "val"
Run = Callable[[], Any]


def make(settings: dict[str, Any]) -> tuple[Run, int]:
    """(what is to be timed, number of weights without the alphas) of formulation `settings["name"]`.

    Settings: name, part, device, channels, layers, batch, size, bf16. Raises SupernetError for a name that is unknown
    or does not run here.
    """
    device = pick(settings["device"])
    if settings["part"] not in PARTS:
        raise SupernetError(unknown("part", settings["part"], PARTS))
    name, *variants = settings["name"].split("+")
    allowed = VARIANTS if name == ORIGINAL else OWN_VARIANTS
    for variant in variants:
        if variant not in allowed:
            raise SupernetError(unknown(f"variant of {name}", variant, allowed))
    torch.manual_seed(0)
    batches = draw_batches(settings["batch"], settings["size"], device)
    if name == ORIGINAL:
        return _original(settings, set(variants), batches)
    return _ours(settings, name, set(variants), batches)


def draw_batches(batch: int, size: int, device: torch.device) -> Batches:
    """The same two random batches each time: loading data is no part of a step's measurement."""
    draw = torch.Generator().manual_seed(0)
    shape = batch, 3, size, size
    return {
        name: (
            torch.randn(shape, generator=draw).to(device),
            torch.randint(CLASSES, shape[:1], generator=draw).to(device),
        )
        for name in ("train", "val")
    }


def _original(settings: dict[str, Any], variants: set[str], batches: Batches) -> tuple[Run, int]:
    net = original.SearchNetwork(settings["channels"], settings["layers"], CLASSES).to(settings["device"])
    if "channels_last" in variants:
        net = net.to(memory_format=torch.channels_last)
        batches = {k: (x.to(memory_format=torch.channels_last), y) for k, (x, y) in batches.items()}
    forward, graphs = _compiled(net, variants), "graphs" in variants
    amp = "bf16" if settings["bf16"] else "off"

    def loss(name: str) -> Tensor:
        if graphs:  # a replay writes over what the one before returned; gradients are such outputs too
            net.zero_grad(set_to_none=True)
            torch.compiler.cudagraph_mark_step_begin()
        images, labels = batches[name]
        with autocast(images.device, amp):
            logits = forward(images)
        return F.cross_entropy(logits.float(), labels)

    if settings["part"] == "pass":
        return _pass(net, lambda: loss("train")), sum(p.numel() for p in net.weights())
    alpha_optimizer = torch.optim.Adam(net.alphas, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    weight_optimizer = torch.optim.SGD(net.weights(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    run = lambda: original.step(net, loss, alpha_optimizer, weight_optimizer, CLIP)  # noqa: E731
    return run, sum(p.numel() for p in net.weights())


def _compiled(net: original.SearchNetwork, variants: set[str]) -> Callable[[Tensor], Tensor]:
    """`net` as it is, or under torch.compile: as a whole, or each edge by itself: their few forms compile once."""
    if "compiled" not in variants:
        if variants & {"edges", "graphs"}:
            raise SupernetError("the variants edges and graphs are forms of +compiled: original+compiled+graphs")
        return net
    if "graphs" in variants and not torch.cuda.is_available():
        raise SupernetError("+graphs needs a GPU: CUDA graphs are what it adds to +compiled")
    mode = "reduce-overhead" if "graphs" in variants else None
    if "edges" not in variants:
        return torch.compile(net, mode=mode, dynamic=False)
    for edge in (edge for cell in net.cells for edge in cell.edges):
        edge.compile(mode=mode, dynamic=False)
    return net


def _ours(settings: dict[str, Any], executor: str, variants: set[str], batches: Batches) -> tuple[Run, int]:
    device, size = pick(settings["device"]), {key: settings[key] for key in ("channels", "layers")}
    captured, size["checkpoint"] = "captured" in variants, "checkpoint" in variants
    if executor != "auto" and executor not in EXECUTORS:
        raise SupernetError(unknown("executor", executor, [*EXECUTORS, ORIGINAL]))
    net = Supernet(get_space("darts"), executor=executor, num_classes=CLASSES, **size).to(device)
    parameters = sum(p.numel() for p in net.weights())
    amp = "bf16" if settings["bf16"] else "off"
    if settings["part"] == "pass":
        if captured:
            raise SupernetError("part=pass has no captured form; part=step has")

        def loss() -> Tensor:
            images, labels = batches["train"]
            with autocast(device, amp):
                logits = net(images)
            return F.cross_entropy(logits.float(), labels)

        return _pass(net, loss), parameters
    return own_step(net, batches, amp, capture="auto" if captured else "off"), parameters


def own_step(net: Supernet, batches: Batches, amp: str, capture: str) -> Run:
    """The product's own step with its guard; with `capture` "auto" its graph is there on a GPU when this returns.

    SupernetError where a graph is asked for and the step was not captured.
    """
    device, numbers = net.alphas()[0].device, itertools.count()
    # The defaults are those of the paper, like the numbers of the original's step.
    bilevel = BilevelStep(net, ImageClassification(CLASSES), amp=amp, guard=Guard(GuardConfig(), net, device))
    step = CapturedStep(bilevel, capture=capture)

    def run() -> None:
        step(batches["train"], batches["val"], epoch=0, number=next(numbers))

    if device.type != "cuda" or capture == "off":
        return run
    for _ in range(step.WARM_UP + 1):
        run()
    if not step.captured:  # a row of this name must be one graph
        raise SupernetError(f"the step was not captured: {step.why_not}")
    return run


def _pass(net: torch.nn.Module, loss: Callable[[], Tensor]) -> Run:
    def run() -> None:
        net.zero_grad(set_to_none=True)
        loss().backward()

    return run
