"""A look at a small search between two epochs, without a run: a step on random images stands for the data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from supernet.config import MethodConfig, from_mapping
from supernet.methods.look import Ended, Look
from supernet.methods.part import Clock
from supernet.methods.problem import Problem
from supernet.network import Supernet
from supernet.network.mixture import Mixture
from supernet.space import Space, get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.measure import evaluate

__all__ = ["ended", "images", "look_at", "small_step"]

Batch = tuple[Tensor, Tensor]


SIZES: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4, "layers": 3, "in_chans": 1},
    "nasbench201": {"channels": 4, "cells_per_stage": 1, "in_chans": 1},
    "nas_bench_macro": {"channels": 4, "features": 8, "num_classes": 10},
}


def small_step(space: Space | None = None, parts: Mapping[str, Any] | None = None, **arguments: Any) -> BilevelStep:
    """The step of a tiny supernet of `space` (two nodes of DARTS by default) with these parts of a method."""
    space = space or get_space("darts", nodes=2)
    net = Supernet(space, executor="torch", seed=0, **(SIZES[space.name] | arguments))
    method = from_mapping(MethodConfig, {"name": "test", **(parts or {})})
    return BilevelStep(net, ImageClassification(10), method=method, epochs=4)


def images(number: int = 0, samples: int = 6, size: int = 8) -> Batch:
    """Random images [samples, 1, size, size] and labels [samples]."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(samples, 1, size, size, generator=generator)
    return x, torch.randint(0, 10, (samples,), generator=generator)


def ended(net: Supernet, epoch: int, **metrics: float) -> Ended:
    """An ended epoch with the net's present genotype."""
    return Ended(epoch, net.genotype(), metrics)


def look_at(step: BilevelStep, epoch: int = 0, epochs: int = 4, batches: int = 2, **more: Any) -> Look:
    """The look behind `epoch` of `epochs`; `more` are other fields of it, `phase` and `stage` those of its clock."""
    net, task = step.net, step.task
    clock = Clock(epoch, epoch, epochs, more.pop("phase", 0), more.pop("stage", 0))

    def measure(
        mixture: Mixture | None = None, some: Iterable[Sequence[Tensor]] | None = None, batch_statistics: bool = False
    ) -> Mapping[str, float]:
        run = net if mixture is None else lambda x: net(x, mixture=mixture)
        data = [images(number) for number in range(batches)] if some is None else some
        return evaluate(net, task, data, None, run, batch_statistics)

    def problem(train: Sequence[Tensor], val: Sequence[Tensor]) -> Problem:
        return step.problem("alphas", train, val)

    fields: dict[str, Any] = {
        "net": net,
        "clock": clock,
        "metrics": {},
        "genotype": net.genotype(),
        "history": [ended(net, epoch)],
        "loaders": lambda _: [images(number) for number in range(batches)],
        "measure": measure,
        "problem": problem,
        "selects": "val/top1",
        "last": epoch + 1 == epochs,
    }
    return Look(**{**fields, **more})
