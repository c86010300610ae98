"""Widths and resolutions of a residual network of timm, pretrained or not (as in TAS; Dong, Yang; arXiv:1905.09717).

In each residual block the inner channels are chosen among fractions of the original ones; the residual stream keeps its
width, so every mixture of blocks fits together. The image is resized before the first layer. The layers start from the
backbone's own weights, narrower ones from their first channels, also where a discrete network is built.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial

import timm
import torch
from torch import nn

from ...errors import SupernetError, unknown
from ..choice import Choice
from ..genotype import JSON
from ..layers import Conv2d, Elastic, Norm, Resize
from ..limits import check_options
from ..registry import SPACES
from ..space import Space
from ..value import Size, ValueChoice, rounded

__all__ = ["timm_resnet_width"]

_PLAIN = re.compile(r"(test_|wide_)?resnet\d*([cdst]|_2)?")  # no groups, attention or anti-aliasing in their blocks


class Kept(Elastic):
    """A layer whose weights stay in every network made from it, also where others draw new ones."""

    def plain(self, indices: Mapping[ValueChoice, int], *, fresh: bool) -> nn.Module:
        return super().plain(indices, fresh=False)


class FromConv(Kept, Conv2d):
    """A convolution whose weight starts as that of `conv`."""

    def __init__(self, conv: nn.Conv2d, c_in: Size, c_out: Size) -> None:
        super().__init__(c_in, c_out, conv.kernel_size[0], conv.stride[0], int(conv.padding[0]), bias=False)
        with torch.no_grad():
            self.get_parameter("weight").copy_(conv.weight[: self.most("out_channels"), : self.most("in_channels")])


class FromNorm(Kept, Norm):
    """A batch norm that starts as `norm`."""

    def __init__(self, norm: nn.BatchNorm2d, channels: Size) -> None:
        super().__init__(channels)
        width = self.most("channels")
        own = {key: value[:width] if value.dim() else value for key, value in norm.state_dict().items()}
        self.norms["batch"].load_state_dict(own)


def _narrow(block: nn.Module, fractions: Sequence[float]) -> None:
    """Makes the channels between the first and the last convolution of a residual block a choice."""
    named = (getattr(block, f"conv{i}", None) for i in (1, 2, 3))
    convs = [conv for conv in named if isinstance(conv, nn.Conv2d)]  # two in a basic block, three in a bottleneck
    inner = convs[0].out_channels
    width = Choice(sorted({min(rounded(inner * fraction), inner) for fraction in fractions}))
    for i, conv in enumerate(convs, 1):
        c_in = conv.in_channels if i == 1 else width
        c_out = conv.out_channels if i == len(convs) else width
        setattr(block, f"conv{i}", FromConv(conv, c_in, c_out))
        if i < len(convs):
            setattr(block, f"bn{i}", FromNorm(getattr(block, f"bn{i}"), width))


def _network(
    backbone: str,
    fractions: Sequence[float],
    sizes: Sequence[int],
    *,
    pretrained: bool = False,
    num_classes: int = 10,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    global_pool: str = "avg",
) -> nn.Module:
    net = timm.create_model(
        backbone,
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        global_pool=global_pool,
        zero_init_last=False,  # a branch that starts at zero gives the alphas inside it no gradient
    )
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in net.get_submodule(stage).children():
            _narrow(block, fractions)
    net.conv1 = nn.Sequential(Resize(Choice(list(sizes))), net.get_submodule("conv1"))
    return net


@SPACES.register("timm_resnet_width")
def timm_resnet_width(
    backbone: str = "resnet10t",
    fractions: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    sizes: Sequence[int] = (16, 24, 32),
) -> Space:
    """The space of narrower networks of timm's `backbone` for images of `sizes` pixels a side."""
    check_options(sizes=sizes)
    check_options(1, fractions=fractions)
    known = [name for name in timm.list_models(module="resnet") if _PLAIN.fullmatch(name)]
    if backbone not in known:
        raise SupernetError(unknown("backbone", backbone, known, most=6))
    args: dict[str, JSON] = {"backbone": backbone, "fractions": list(fractions), "sizes": list(sizes)}
    return Space(partial(_network, backbone, fractions, sizes), name="timm_resnet_width", args=args)
