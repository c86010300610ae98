"""The predicted peak of a step against what the profiler sees the allocator hand out in a real one."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from supernet.config import GuardConfig, MethodConfig, SearchConfig, from_mapping
from supernet.cost.memory import Ledger, imagined, without_data
from supernet.cuda_kernels import host
from supernet.data.augment import Augment
from supernet.data.loader import Batch
from supernet.data.sources import TensorSource
from supernet.data.torchvision_named import NAMED
from supernet.data.view import View
from supernet.network import Supernet
from supernet.runtime.guard import Guard
from supernet.space import Space, get_space
from supernet.space.choice import Choice
from supernet.stages.footprint import ROWS, Footprint, _resident, footprint, footprint_of_step
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep

CPU = torch.device("cpu")
WITHIN = 0.1


class Chosen(nn.Module):
    """A network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(*(Choice({"conv": self.conv, "skip": nn.Identity}) for _ in range(3)))
        self.head = nn.Linear(8, 10)

    @staticmethod
    def conv() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


OPERATIONS = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"]
SPACES: dict[str, tuple[Any, dict[str, Any]]] = {
    "darts": (lambda: get_space("darts", nodes=2, operations=OPERATIONS), {"channels": 4, "layers": 3}),
    "nasbench201": (lambda: get_space("nasbench201"), {"channels": 4, "cells_per_stage": 1}),
    "choice": (lambda: Space(Chosen), {}),
}
CASES = [
    (name, executor, checkpoint, method)
    for name, executor, checkpoint, method in [
        ("darts", "torch", False, "first_order"),
        ("darts", "torch", True, "first_order"),
        ("darts", "torch", False, "finite_difference"),
        ("darts", "torch", False, "exact"),
        ("darts", "cpu", False, "first_order"),
        ("darts", "cpu", True, "first_order"),
        ("darts", "cpu", False, "finite_difference"),
        ("darts", "reference", False, "first_order"),
        ("nasbench201", "torch", False, "first_order"),
        ("nasbench201", "torch", True, "finite_difference"),
        ("nasbench201", "cpu", False, "first_order"),
        ("choice", "torch", False, "first_order"),
        ("choice", "torch", False, "exact"),
    ]
]
SHORT = (0, 8, 11)  # the cases of the short run: each space once


def network(name: str, executor: str, checkpoint: bool) -> Supernet:
    make, arguments = SPACES[name]
    if name != "choice":
        arguments = arguments | {"checkpoint": checkpoint}
    return Supernet(make(), executor=executor, seed=0, **arguments)


def batches(count: int, size: int) -> list[Batch]:
    shape = count, 3, size, size
    return [Batch(torch.randn(shape), torch.randint(10, (count,)), torch.arange(count)) for _ in range(2)]


def measured(name: str, executor: str, checkpoint: bool, method: str, count: int, size: int) -> int:
    """Most bytes handed out at once: network, batches, optimisers and two steps, counted from nothing."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        net = network(name, executor, checkpoint)
        train, val = batches(count, size)
        guard = Guard(GuardConfig(), net, CPU)
        step = BilevelStep(net, ImageClassification(10), method=MethodConfig(hypergradient=method), guard=guard)
        for _ in range(2):
            step(train, val, epoch=0)
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@cache
def predicted(name: str, executor: str, checkpoint: bool, method: str, count: int, size: int) -> Footprint:
    net = network(name, executor, checkpoint)
    kind = MethodConfig(hypergradient=method)
    return footprint_of_step(net, ImageClassification(10), batches(count, size), CPU, method=kind)


@pytest.mark.parametrize(
    ("name", "executor", "checkpoint", "method"),
    [pytest.param(*case, marks=[] if i in SHORT else [pytest.mark.long]) for i, case in enumerate(CASES)],
)
def test_the_prediction_is_right_within_ten_per_cent(name: str, executor: str, checkpoint: bool, method: str) -> None:
    if executor == "cpu" and not host.available():
        pytest.skip("no C++ compiler here")
    case = name, executor, checkpoint, method, 8, 16
    real, found = measured(*case), predicted(*case)
    assert abs(found.peak - real) <= WITHIN * real, f"{found.peak} predicted, {real} measured"
    assert found.peak == sum(found.parts.values())


def test_checkpointing_lowers_what_is_kept() -> None:
    plain, again = (predicted("darts", "torch", on, "first_order", 8, 16) for on in (False, True))
    assert again.parts["activations kept"] < plain.parts["activations kept"] / 4
    assert again.peak < plain.peak


def test_a_search_is_predicted_without_its_data_and_without_room() -> None:
    """Twenty thousand times the batch that would fit into this process; CIFAR-10 need not be here either."""
    values = {
        "space": {"name": "nasbench201"},
        "network": {"channels": 8, "cells_per_stage": 1},
        "data": {"name": "cifar10"},
        "batch_size": 20000,
        "executor": "torch",
        "device": "cpu",
    }
    found = footprint(from_mapping(SearchConfig, values))
    assert found.peak > 2**33
    assert tuple(found.parts) == ROWS
    assert found.parts["data and batches"] >= 2 * 20000 * 3 * 32 * 32 * 4


def test_data_that_stay_on_the_host_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `Residents` would move, and nothing else."""

    class Own(TensorSource):
        """Reads in a way of its own."""

    def views(source: TensorSource) -> tuple[View, View]:
        other = TensorSource(torch.zeros(10, 1, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))
        found = [View(s, np.arange(10), Augment()) for s in (source, other)]
        return found[0], found[1]

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4000 * free, 10**9))
    data = torch.zeros(10, 92, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64)
    gpu, small = torch.device("cuda"), 10 + 80
    free = 1.0  # a quarter of it are 1000 bytes, as many as the data have
    assert _resident(views(TensorSource(*data)), gpu, "auto") == 1000 + small
    assert _resident(views(TensorSource(*data, ready=True)), gpu, "on") == small
    assert _resident(views(Own(*data)), gpu, "on") == small
    free = 0.999
    assert _resident(views(TensorSource(*data)), gpu, "auto") == small
    assert _resident(views(TensorSource(*data)), gpu, "on") == 1000 + small
    assert _resident(views(TensorSource(*data)), gpu, "off") == _resident(views(TensorSource(*data)), CPU, "auto") == 0
    assert _resident((views(TensorSource(*data))[1],) * 2, CPU, "on") == small, "one source of both views"


def test_known_data_have_the_sizes_of_the_real_ones() -> None:
    assert set(NAMED) == {"cifar10", "cifar100", "fashion_mnist", "mnist", "svhn"}
    assert (NAMED["cifar10"].images, NAMED["cifar10"].shape, NAMED["cifar10"].classes) == (50000, (3, 32, 32), 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("executor", "checkpoint"), [("torch", False), ("torch", True), ("cuda", False)])
def test_on_a_gpu_it_is_what_the_allocator_counts(executor: str, checkpoint: bool) -> None:
    device = torch.device("cuda")
    found = footprint_of_step(network("darts", executor, checkpoint), ImageClassification(10), batches(32, 32), device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    net = network("darts", executor, checkpoint).to(device)
    train, val = ([x.to(device) for x in batch] for batch in batches(32, 32))
    step = BilevelStep(net, ImageClassification(10), guard=Guard(GuardConfig(), net, device))
    for _ in range(2):
        step(train, val, epoch=0)
    real = torch.cuda.max_memory_allocated() - before
    assert abs(found.peak - real) <= WITHIN * real, f"{found.peak} predicted, {real} measured"


def test_the_ledger_counts_storages_once_and_sees_them_go() -> None:
    layer = nn.Linear(256, 256, bias=False)
    with imagined(), Ledger() as ledger:
        without_data(layer, CPU)
        x = torch.empty(64, 256)
        y = layer(x).relu_()
        view = y[:2].t()
        del y, x, view
        torch.empty(1)
    sizes = sorted(piece.size for piece in ledger.pieces)
    assert sizes == [4, 4 * 64 * 256, 4 * 64 * 256, 4 * 256 * 256]
    assert ledger.peak[0] == 4 * (2 * 64 * 256 + 256 * 256)
    assert [piece.size for piece in ledger.pieces if piece.died is None] == [4 * 256 * 256]
