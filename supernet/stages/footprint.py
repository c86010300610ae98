"""The peak memory of a search before it runs: one bilevel step on tensors without data, storage by storage.

The step is the search's own, with its network, optimisers, guard and method; only the numbers are missing. So the
figure follows whatever a network or an executor keeps. On the processor it means the bytes of tensors, which the
allocator hands out; python and the libraries come on top, and so does what these hold for themselves. On a GPU it is
to be `torch.cuda.max_memory_allocated`, without what cuDNN and cuBLAS take as working room; that has not been tried on
one yet. Measuring a network between epochs keeps nothing for a backward and needs less.
"""
# B batch

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..config import AlphaConfig, GuardConfig, MethodConfig, SearchConfig, WeightConfig
from ..cost.memory import BACKWARD, Ledger, Piece, imagined, without_data
from ..data.loader import Batch, EvalLoader
from ..data.registry import in_memory
from ..data.resident import SHARE
from ..data.sources import TensorSource
from ..data.splits import Splits, open_data
from ..data.torchvision_named import NAMED
from ..data.view import View
from ..errors import SupernetError
from ..network import Supernet
from ..network.cells.cell import MixedCell
from ..network.executor.automatic import Auto, choose, mostly_separable
from ..network.macro import macro_of
from ..runtime.device import pick
from ..runtime.guard import Guard
from ..space import Space
from ..tasks.task import Task
from ..train.bilevel import BilevelStep
from ..train.compatibility import fit_arguments
from .running import task_of
from .space_config import configured

__all__ = ["Footprint", "footprint", "footprint_of_step", "room"]

PARAMETERS, GRADIENTS, OPTIMISERS = "parameters and buffers", "gradients", "optimisers"
DATA, KEPT, TRANSIENTS = "data and batches", "activations kept", "transients"
ROWS = (PARAMETERS, GRADIENTS, OPTIMISERS, DATA, KEPT, TRANSIENTS)


@dataclass(frozen=True)
class Footprint:
    """Bytes at the moment of the peak, by what they are for; `in_backward` says in which half of a pass that is."""

    parts: Mapping[str, int]
    in_backward: bool
    executor: str | None
    device: torch.device
    checkpoint: bool | None = None  # None: the network has no such switch

    @property
    def peak(self) -> int:
        return sum(self.parts.values())


def footprint(config: SearchConfig, *, space: Space | None = None, splits: Splits | None = None) -> Footprint:
    """That of the search that `config` names; reads one sample of the data. Raises SupernetError as it would."""
    device = pick(config.device)
    space = space or configured(config.space)
    splits = splits or _open(config)
    task = task_of(splits, config.task)
    arguments = fit_arguments(macro_of(space).relaxed, config.network, splits.info, task)
    net = Supernet(space, executor=config.executor, seed=config.seed, **arguments)
    views = splits.for_search(config.alpha_share)
    step = footprint_of_step(
        net,
        task,
        [_like(view, config.batch_size) for view in views],
        device,
        method=config.method,
        weights=config.weights,
        alphas=config.alphas,
        guard=config.guard,
        amp=config.amp,
    )
    resident = _resident(views, device, config.data.resident)
    return replace(step, parts={**step.parts, DATA: step.parts[DATA] + resident})


def footprint_of_step(
    net: Supernet,
    task: Task,
    batches: list[Batch],
    device: torch.device,
    *,
    method: MethodConfig | None = None,
    weights: WeightConfig | None = None,
    alphas: AlphaConfig | None = None,
    guard: GuardConfig | None = None,
    amp: str = "off",
) -> Footprint:
    """That of one step on batches like these, for the weights and for the alphas; `net` is of no use afterwards."""
    body = net.body
    if isinstance(body.executor, Auto):  # here, where it may try its kernels; they need numbers
        cell = next((module for module in body.modules() if isinstance(module, MixedCell)), None)
        dtype = torch.bfloat16 if amp == "bf16" else torch.float32
        net.use(choose(device, dtype, dense=cell is not None and not mostly_separable(cell))[0])
    with imagined(), Ledger() as ledger:
        train, val = (_batch(ledger, like, device) for like in batches)
        without_data(net, device)
        for x in (*net.parameters(), *net.buffers()):
            ledger.note(x).label = PARAMETERS
        watched = Guard(guard or GuardConfig(), net, device)
        step = BilevelStep(net, task, method=method, weights=weights, alphas=alphas, amp=amp, guard=watched)
        with _watched(net, step, ledger):
            step(train, val, epoch=0)
        when = ledger.peak[1]
        alive = ledger.alive(when)
        backward = any(piece.born == when and piece.label == BACKWARD for piece in alive)
        parts = {row: sum(p.size for p in alive if _row(p) == row) for row in ROWS}
    executor = None if body.executor is None else body.executor.name
    return Footprint(parts, backward, executor, device, getattr(body, "checkpoint", None))


def room(device: torch.device) -> int:
    """Bytes of memory that the device, or this machine, has in all."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _row(piece: Piece) -> str:
    return piece.label if piece.label in ROWS else TRANSIENTS


@contextmanager
def _watched(net: Supernet, step: BilevelStep, ledger: Ledger) -> Iterator[None]:
    """Inside, what a forward pass makes, what optimisers keep and what they are given is labelled as that."""

    def enter(*_: object) -> None:
        ledger.label = KEPT

    def leave(*_: object) -> None:
        ledger.label = ""

    def gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    ledger.note(p.grad).label = GRADIENTS

    def states(optimizer: torch.optim.Optimizer, *_: object) -> None:
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    ledger.note(value).label = OPTIMISERS

    handles: list[RemovableHandle] = [net.register_forward_pre_hook(enter), net.register_forward_hook(leave)]
    for optimizer in (step.weight_optimizer, step.alpha_optimizer):
        handles.append(optimizer.register_step_pre_hook(gradients))
        handles.append(optimizer.register_step_post_hook(states))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _open(config: SearchConfig) -> Splits:
    """The data; where those of a known name are not here yet, blank ones of their number and size."""
    name, data = config.data.name, config.data
    if data.root or name not in NAMED:
        return open_data(data, config.seed, config.task)
    entry = NAMED[name]
    number = entry.images if data.image_size is None else 256  # blank images need not be resized by the thousand

    def blank(_: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return np.zeros((number, *entry.shape), np.uint8), np.zeros(number, np.int64)

    names = tuple(map(str, range(entry.classes)))
    return Splits(in_memory(name, data, blank, names, entry.augment), config.seed, data.limit)


def _batch(ledger: Ledger, like: Batch, device: torch.device) -> Batch:
    images, targets = (torch.empty(x.shape, dtype=x.dtype, device=device) for x in like[:2])
    for x in (images, targets):
        ledger.note(x).label = DATA
    return Batch(images, targets, like.index)


def _like(view: View, batch_size: int) -> Batch:
    """A batch of `view` as the search reads it, without data. The first sample stands for all."""
    try:
        one = next(iter(EvalLoader(view.subset(np.arange(1)), batch_size=1)))
    except StopIteration:
        raise SupernetError("the data have no samples") from None
    # The search leaves out a last smaller batch only where there is a whole one.
    count = min(batch_size, len(view))
    images, targets = (torch.empty((count, *x.shape[1:]), dtype=x.dtype, device="meta") for x in one[:2])
    return Batch(images, targets, one.index)


def _resident(views: tuple[View, View], device: torch.device, setting: str) -> int:
    """Bytes of the data that are moved to the device (data.resident): those that `Residents` would move."""
    if setting == "off" or (setting == "auto" and device.type != "cuda"):
        return 0
    sources = {id(view.source): view.source for view in views}.values()
    sizes = [s.images.nbytes + s.targets.nbytes for s in sources if type(s) is TensorSource and not s.ready]
    if setting == "auto":
        most = SHARE * torch.cuda.mem_get_info(device)[0]
        sizes = [size for size in sizes if size <= most]
    return sum(sizes)
