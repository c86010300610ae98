"""The NAS-Bench-201 macro structure (arXiv:2001.00326): three stages of N cells with residual reductions between.

    stem conv3x3 to C, BN | N cells C | block | N cells 2C | block | N cells 4C | BN, ReLU, pool, linear

The residual block is ReLU-conv3x3-BN twice, the first of stride 2, beside average pool 2x2 and conv1x1 without norm.
`stages` may be other than three: one stage of one cell is a network of a single cell.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import SupernetError
from ...ops.convolution import relu_conv_bn
from ...space.genotype import Genotype
from ...space.space import Space
from ..cells.cell import CellPlan, DiscreteCell, MixedCell
from ..cells.classifier import CellClassifier, drop_path, linear_head
from ..executor import Executor
from ..mixture import Mixture
from .cells import CellBody, require_cells
from .frame import Fixture, Frame, Shape, Site, halved, head
from .registry import MACROS, Macro

__all__ = ["NasBench201Body", "NasBench201Network", "ResidualReduction"]

STAGES = 3
MOST = 6  # stages: each doubles the channels
KINDS = ("cell",)


class _Halved(nn.AvgPool2d):
    """The mean of each 2x2 window; of odd sizes the last window has the pixels that are there."""

    def __init__(self) -> None:
        super().__init__(2, stride=2, ceil_mode=True, count_include_pad=False)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)]"""
        if torch.compiler.is_compiling():  # the same without a question about sizes, which torch.export may leave free
            return F.avg_pool2d(F.pad(input, (0, 1, 0, 1), mode="replicate"), 2, stride=2)
        return super().forward(input)


class ResidualReduction(nn.Module):
    """Halves height and width (rounded up) and doubles the channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = relu_conv_bn(c_in, c_out, 2, kernel=3)
        self.conv_b = relu_conv_bn(c_out, c_out, 1, kernel=3)
        self.shortcut = nn.Sequential(_Halved(), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 2C, ceil(H / 2), ceil(W / 2)]"""
        return self.shortcut(x) + self.conv_b(self.conv_a(x))


def make_stem(in_chans: int, channels: int) -> nn.Sequential:
    """In front of the first cell."""
    return nn.Sequential(nn.Conv2d(in_chans, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def make_last(channels: int) -> nn.Sequential:
    """Behind the last cell."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def plans(channels: int, cells_per_stage: int, stages: int) -> list[CellPlan | None]:
    """The cells in order; None stands for a residual reduction."""
    if not 1 <= stages <= MOST:
        raise SupernetError(f"network stages={stages} must lie in 1..{MOST}")
    if channels < 1 or cells_per_stage < 1:
        raise SupernetError(f"network channels={channels} and cells_per_stage={cells_per_stage} must both be 1 or more")
    steps: list[CellPlan | None] = []
    for stage in range(stages):
        c = channels * 2**stage
        steps += [None] if stage else []
        steps += [CellPlan("cell", (c,), c, preprocess=False)] * cells_per_stage
    return steps


def _layers(
    steps: Sequence[CellPlan | None], channels: int, make_cell: Callable[[CellPlan], nn.Module]
) -> nn.ModuleList:
    layers = nn.ModuleList()
    for plan in steps:
        if plan is None:
            layers.append(ResidualReduction(channels, 2 * channels))
            channels *= 2
        else:
            layers.append(make_cell(plan))
    return layers


class NasBench201Body(CellBody):
    """The relaxed network; `sites` has one entry a cell. `partial` and `checkpoint` as for DARTS."""

    def __init__(
        self,
        space: Space,
        executor: Executor,
        /,
        *,
        channels: int = 16,
        cells_per_stage: int = 5,
        stages: int = STAGES,
        num_classes: int = 10,
        in_chans: int = 3,
        affine: bool = False,
        partial: int = 1,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(executor, checkpoint)
        space = require_cells(space, "nasbench201", KINDS, inputs=1)
        steps = plans(channels, cells_per_stage, stages)
        self.stem = make_stem(in_chans, channels)

        def mixed(plan: CellPlan) -> MixedCell:
            return MixedCell(space, plan, affine=affine, pool_bn=False, partial=partial)

        self.cells = _layers(steps, channels, mixed)
        self.sites = tuple("cell" for plan in steps if plan)
        wide = channels * 2 ** (stages - 1)
        self.last = make_last(wide)
        self.classifier = linear_head(wide, num_classes)

    def run(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Logits [B, K] of images [B, C, H, W]: K is `num_classes`, C is `in_chans`."""
        x = self.stem(x)
        sites = iter(zip(*mixture, strict=True))
        for layer in self.cells:
            x = self.run_cell(layer, (x,), *next(sites)) if isinstance(layer, MixedCell) else layer(x)
        return self.classifier(self.last(x).mean(dim=(2, 3)))


class NasBench201Network(CellClassifier):
    """The discrete network of one genotype."""

    def __init__(
        self,
        space: Space,
        genotype: Genotype,
        /,
        *,
        channels: int = 16,
        cells_per_stage: int = 5,
        stages: int = STAGES,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
        affine: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        self.set_grad_checkpointing(checkpoint)
        graph = require_cells(space, "nasbench201", KINDS, inputs=1).graphs(genotype)["cell"]
        drop = drop_path(drop_path_rate)
        steps = plans(channels, cells_per_stage, stages)
        self.stem = make_stem(in_chans, channels)
        self.cells = _layers(steps, channels, lambda plan: DiscreteCell(graph, plan, affine=affine, drop_path=drop))
        self.num_features = channels * 2 ** (stages - 1)
        self.last = make_last(self.num_features)
        self.classifier = self.make_head()
        self.feature_info = [
            {"num_chs": channels * 2**s, "reduction": 2**s, "module": f"cells.{(s + 1) * (cells_per_stage + 1) - 2}"}
            for s in range(stages)
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] to the last feature map, of three stages [B, 4C, H / 4, W / 4]."""
        x = self.stem(x)
        for layer in self.cells:
            x = self.run_cell(layer, x)
        return self.last(x)


def frame(
    shape: Shape, joined: Mapping[str, int], /, *,
    channels: int, cells_per_stage: int, stages: int, num_classes: int, drop_rate: float, global_pool: str,
    affine: bool, **_: object,
) -> Frame:  # fmt: skip
    """What stands around the cells of a `NasBench201Network`, see frame.py."""
    fixtures = [Fixture(f"stem nasbench201 to {channels}", shape, partial(make_stem, shape[1], channels))]
    sites, state = [], (shape[0], channels, *shape[2:])
    for plan in plans(channels, cells_per_stage, stages):
        if plan is not None:
            sites.append(Site(plan, (state,)))
            continue
        c = state[1]
        fixtures.append(Fixture(f"residual reduction {c}", state, partial(ResidualReduction, c, 2 * c)))
        state = (shape[0], 2 * c, *halved(state[2:]))
    fixtures.append(Fixture(f"norm and relu {state[1]}", state, partial(make_last, state[1])))
    fixtures.append(head(state, num_classes, global_pool, drop_rate))
    return Frame(tuple(fixtures), tuple(sites), affine, pool_bn=False)


MACROS.register("nasbench201")(Macro(NasBench201Body, NasBench201Network, frame))
