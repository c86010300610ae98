"""The DARTS macro structure (arXiv:1806.09055): a stem, L cells of which two reduce, global pooling, a linear head.

The cells at L//3 and 2L//3 halve the resolution and double the channels. Each cell reads the outputs of the two before.
"""
# B batch, C channels, H height, W width, L layers, E edges, O operations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ...errors import SupernetError, unknown
from ...space.genotype import Genotype
from ...space.space import Space
from ..cells.cell import CellPlan, DiscreteCell, MixedCell
from ..cells.classifier import CellClassifier, drop_path, linear_head
from ..executor import Executor
from ..mixture import Mixture
from .auxiliary import AuxiliaryHead
from .cells import CellBody, require_cells
from .frame import Fixture, Frame, Shape, Site, head
from .registry import MACROS, Macro
from .stems import CifarStem, ImageNetStem, make_stem

__all__ = ["DartsBody", "DartsNetwork"]

KINDS = ("normal", "reduce")
CONCATS = ("space", "relaxed")


def plans(stem: CifarStem | ImageNetStem, channels: int, layers: int, width: Mapping[str, int]) -> list[CellPlan]:
    """Where each of the L cells stands; `width` is the number of states that the output of each cell kind joins."""
    if channels < 1 or layers < 1:
        raise SupernetError(f"network channels={channels} and layers={layers} must both be 1 or more")
    steps = []
    c_inputs, reduction_prev = stem.out_channels, stem.reduction_prev
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        kind = "reduce" if reduction else "normal"
        channels *= 2 if reduction else 1
        steps.append(CellPlan(kind, c_inputs, channels, reduction, reduction_prev))
        c_inputs, reduction_prev = (c_inputs[1], width[kind] * channels), reduction
    return steps


class DartsBody(CellBody):
    """The relaxed network: every cell mixed. `sites` has one entry a cell.

    With `partial` = k the operations see 1 / k of the channels, and the others pass by (partial_channels.py).
    """

    def __init__(
        self,
        space: Space,
        executor: Executor,
        /,
        *,
        channels: int = 16,
        layers: int = 8,
        num_classes: int = 10,
        in_chans: int = 3,
        stem: str = "cifar",
        stem_multiplier: int = 3,
        affine: bool = False,
        pool_bn: bool = True,
        concat: str = "relaxed",
        partial: int = 1,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(executor, checkpoint)
        space = require_cells(space, "darts", KINDS, inputs=2)
        if concat != "relaxed":
            raise SupernetError(f"network.concat={concat!r}: a supernet joins all nodes; leave concat out")
        self.stem = make_stem(stem, in_chans, channels, stem_multiplier)
        steps = plans(self.stem, channels, layers, dict.fromkeys(space.kinds, len(space.concat)))
        self.cells = nn.ModuleList(
            MixedCell(space, plan, affine=affine, pool_bn=pool_bn, partial=partial) for plan in steps
        )
        self.sites = tuple(plan.kind for plan in steps)
        self.classifier = linear_head(steps[-1].channels * len(space.concat), num_classes)

    def run(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Logits [B, K] of images [B, C, H, W]: K is `num_classes`, C is `in_chans`."""
        s0, s1 = self.stem(x)
        for cell, p_EO, mask_EO in zip(self.mixed, *mixture, strict=True):
            s0, s1 = s1, self.run_cell(cell, (s0, s1), p_EO, mask_EO)
        return self.classifier(s1.mean(dim=(2, 3)))


class DartsNetwork(CellClassifier):
    """The discrete network of one genotype.

    `auxiliary` adds the second classifier, whose logits come beside the first in training mode only. `pool_bn` puts the
    norms of the supernet behind the pools, which the derived network leaves out. `concat` "relaxed" joins the nodes
    that the supernet's cells join, "space" those of the space's rule; they differ for NASNet's cells. `checkpoint` is
    timm's `set_grad_checkpointing`.
    """

    def __init__(
        self,
        space: Space,
        genotype: Genotype,
        /,
        *,
        channels: int = 36,
        layers: int = 20,
        num_classes: int = 10,
        in_chans: int = 3,
        stem: str = "cifar",
        stem_multiplier: int = 3,
        auxiliary: bool = False,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
        pool_bn: bool = False,
        affine: bool = True,
        concat: str = "space",
        checkpoint: bool = False,
    ) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        self.set_grad_checkpointing(checkpoint)
        space = require_cells(space, "darts", KINDS, inputs=2)
        graphs = space.graphs(genotype)
        if concat not in CONCATS:
            raise SupernetError(unknown("network.concat", concat, CONCATS))
        if concat == "relaxed":
            graphs = {kind: replace(graph, concat=space.concat) for kind, graph in graphs.items()}
        self.stem = make_stem(stem, in_chans, channels, stem_multiplier)
        steps = plans(self.stem, channels, layers, {kind: len(graph.concat) for kind, graph in graphs.items()})
        drop = drop_path(drop_path_rate)
        self.cells = nn.ModuleList(
            DiscreteCell(graphs[p.kind], p, affine=affine, pool_bn=pool_bn, drop_path=drop) for p in steps
        )
        widths = [plan.channels * len(graphs[plan.kind].concat) for plan in steps]
        self.feature_info, reduction = [], self.stem.stride
        for i, plan in enumerate(steps):
            reduction *= 2 if plan.reduction else 1
            if i + 1 == layers or steps[i + 1].reduction:  # the last map of each resolution
                self.feature_info.append({"num_chs": widths[i], "reduction": reduction, "module": f"cells.{i}"})
        self.num_features = widths[-1]
        self.classifier = self.make_head()
        self._tap = 2 * layers // 3
        tap = widths[self._tap] if auxiliary else 0
        self.auxiliary = AuxiliaryHead(tap, num_classes, imagenet=stem == "imagenet") if auxiliary else None

    def _states(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs [B, C, H', W'] of the last cell and of the one that the auxiliary head reads."""
        s0, s1 = self.stem(x)
        tapped = s1
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, self.run_cell(cell, s0, s1)
            tapped = s1 if i == self._tap else tapped
        return s1, tapped

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map [B, F, H', W'] of images [B, C, H, W]: F is `num_features`, C is `in_chans`."""
        return self._states(x)[0]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, K]; in training mode with an auxiliary head the pair (logits [B, K], auxiliary logits [B, K]).

        Images are [B, C, H, W]: K is `num_classes`, C is `in_chans`.
        """
        last, tapped = self._states(x)
        logits = self.forward_head(last)
        return (logits, self.auxiliary(tapped)) if self.auxiliary is not None and self.training else logits


def frame(
    shape: Shape, joined: Mapping[str, int], /, *,
    channels: int, layers: int, num_classes: int, stem: str, stem_multiplier: int, auxiliary: bool, drop_rate: float,
    global_pool: str, pool_bn: bool, affine: bool, **_: object,
) -> Frame:  # fmt: skip
    """What stands around the cells of a `DartsNetwork`, see frame.py."""
    make = partial(make_stem, stem, shape[1], channels, stem_multiplier)
    with torch.device("meta"), torch.no_grad():
        front = make().eval()
        states = [tuple(state.shape) for state in front(torch.empty(shape))]
    sites: list[Site] = []
    for plan in plans(front, channels, layers, joined):
        sites.append(Site(plan, tuple(states)))
        states = [states[1], sites[-1].output(joined[plan.kind])]
    name = f"stem {stem} to {channels} times {stem_multiplier}"
    fixtures = [Fixture(name, shape, make), head(states[1], num_classes, global_pool, drop_rate)]
    if auxiliary:
        tap = sites[2 * layers // 3]
        tapped = tap.output(joined[tap.plan.kind])
        second = partial(AuxiliaryHead, tapped[1], num_classes, imagenet=stem == "imagenet")
        fixtures.append(Fixture(f"auxiliary {stem} to {num_classes}", tapped, second, runs=False))
    return Frame(tuple(fixtures), tuple(sites), affine, pool_bn)


MACROS.register("darts")(Macro(DartsBody, DartsNetwork, frame))
