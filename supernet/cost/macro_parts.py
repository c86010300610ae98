"""What stands around the cells: stems, reductions and heads of the macro structures, with the sizes of the maps.

One function a macro structure: (input shape, arguments, states that each kind of cell joins) -> Frame.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..network.cell import CellPlan
from ..network.cell_classifier import CellClassifier
from ..network.macro import darts, nasbench201
from ..network.macro.auxiliary import AuxiliaryHead
from ..network.macro.stems import make_stem
from .placed import Part, Shape

__all__ = ["FRAMES", "Frame", "Site"]


@dataclass(frozen=True)
class Site:
    """A cell's plan, the shapes of its inputs, and (H, W) behind its entrance and of its nodes."""

    plan: CellPlan
    inputs: tuple[Shape, ...]

    @property
    def inner(self) -> tuple[int, ...]:
        return self.inputs[-1][2:]

    @property
    def outer(self) -> tuple[int, ...]:
        return halved(self.inner) if self.plan.reduction else self.inner


@dataclass(frozen=True)
class Frame:
    """The parts that every genotype has, and the cells."""

    fixed: tuple[Part, ...]
    sites: tuple[Site, ...]


class Head(CellClassifier):
    """Pooling and classifier alone."""

    def __init__(self, features: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        self.num_features = features
        self.classifier = self.make_head()

    def forward_features(self, x: Tensor) -> Tensor:
        return x


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    """Behind stride 2: rounded up."""
    return tuple(-(-length // 2) for length in size)


def darts_frame(shape: Shape, arguments: Mapping[str, Any], width: Mapping[str, int]) -> Frame:
    batch, channels_in, *rest = shape
    channels, layers, name = arguments["channels"], arguments["layers"], arguments["stem"]
    make = partial(make_stem, name, channels_in, channels, arguments["stem_multiplier"])
    with torch.device("meta"):
        stem = make()
    size = tuple(rest)
    s1 = (batch, stem.out_channels[1], *(size if stem.stride == 1 else halved(halved(halved(size)))))
    s0 = (batch, stem.out_channels[0], *(size if stem.stride == 1 else halved(halved(size))))
    sites = []
    for plan in darts.plans(stem, channels, layers, width):
        site = Site(plan, (s0, s1))
        sites.append(site)
        s0, s1 = s1, (batch, width[plan.kind] * plan.channels, *site.outer)
    shown = f"stem {name} to {channels} times {arguments['stem_multiplier']}"
    fixed = [Part(shown, (shape,), make), _head(s1, arguments)]
    if arguments["auxiliary"]:
        tap = sites[2 * layers // 3]
        tapped = (batch, width[tap.plan.kind] * tap.plan.channels, *tap.outer)
        classes = arguments["num_classes"]
        other = partial(AuxiliaryHead, tapped[1], classes, imagenet=name == "imagenet")
        fixed.append(Part(f"auxiliary {name} to {classes}", (tapped,), other, runs=False))
    return Frame(tuple(fixed), tuple(sites))


def nasbench201_frame(shape: Shape, arguments: Mapping[str, Any], width: Mapping[str, int]) -> Frame:
    batch, channels_in, *rest = shape
    channels, size = arguments["channels"], tuple(rest)
    stem = partial(nasbench201.make_stem, channels_in, channels)
    fixed, sites, c = [Part(f"stem nasbench201 to {channels}", (shape,), stem)], [], channels
    for plan in nasbench201.plans(channels, arguments["cells_per_stage"]):
        state = (batch, c, *size)
        if plan is not None:
            sites.append(Site(plan, (state,)))
            continue
        reduction = partial(nasbench201.ResidualReduction, c, 2 * c)
        fixed.append(Part(f"residual reduction {c}", (state,), reduction))
        c, size = 2 * c, halved(size)
    last = (batch, c, *size)
    fixed += [Part(f"norm and relu {c}", (last,), partial(nasbench201.make_last, c)), _head(last, arguments)]
    return Frame(tuple(fixed), tuple(sites))


def _head(last: Shape, arguments: Mapping[str, Any]) -> Part:
    classes, pool = arguments["num_classes"], arguments["global_pool"]
    make = partial(Head, last[1], classes, pool, arguments["drop_rate"])
    return Part(f"head {pool or 'none'} to {classes}", (last,), make)


FRAMES: dict[str, Callable[[Shape, Mapping[str, Any], Mapping[str, int]], Frame]] = {
    "darts": darts_frame,
    "nasbench201": nasbench201_frame,
}
