"""NAS-Bench-Macro (Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search"; arXiv:2103.11922).

    stem conv3x3 C, BN, ReLU | 2 layers 2C | 3 layers 4C | 3 layers 8C | conv1x1 1280, BN, ReLU | pool | linear

C = 32. The first layer of each stage has stride 2. Each layer is the identity (conv1x1 and BN where the shape changes)
or one of two inverted residual blocks: 3^8 = 6,561 points. An identity at stride 1 commutes with its neighbours, so
that 3,969 of them are different networks.
"""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from ..choice import Choice
from ..decision import Value
from ..limits import check_sizes
from ..registry import SPACES
from ..space import Space
from .timm_interface import Classifier, drop_path

__all__ = ["DEPTHS", "OPTIONS", "InvertedResidual", "MacroNet", "nas_bench_macro", "to_string"]

DEPTHS = (2, 3, 3)
OPTIONS = ("identity", "mb3_3x3", "mb6_5x5")  # the benchmark's digits 0, 1, 2


def _conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


class InvertedResidual(nn.Module):
    """Pointwise, depthwise, pointwise convolution (arXiv:1801.04381), with a residual where the shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int, kernel: int, drop: float = 0.0) -> None:
        super().__init__()
        wide = c_in * expansion
        self.body = nn.Sequential(
            *_conv_bn(c_in, wide, 1),
            nn.ReLU(inplace=True),
            *_conv_bn(wide, wide, kernel, stride, groups=wide),
            nn.ReLU(inplace=True),
            *_conv_bn(wide, c_out, 1),
        )
        self.residual = drop_path(drop)() if stride == 1 and c_in == c_out else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, H / stride, W / stride]."""
        y = self.body(x)
        return y if self.residual is None else x + self.residual(y)


class MacroNet(Classifier):
    """The network; `channels` is the stem's width, `features` that of the last convolution."""

    def __init__(
        self,
        *,
        channels: int = 32,
        features: int = 1280,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        check_sizes(channels=channels, features=features, in_chans=in_chans)
        widths = [channels, *(channels * 2**stage for stage, depth in enumerate(DEPTHS, 1) for _ in range(depth))]
        self.stem = nn.Sequential(*_conv_bn(in_chans, channels, 3), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList(_layer(c_in, c_out, drop_path_rate) for c_in, c_out in pairwise(widths))
        self.last = nn.Sequential(*_conv_bn(widths[-1], features, 1), nn.ReLU(inplace=True))
        self.num_features = features
        self.classifier = self.make_head()
        self.feature_info = [
            {"num_chs": widths[sum(DEPTHS[:i])], "reduction": 2**i, "module": f"blocks.{sum(DEPTHS[:i]) - 1}"}
            for i in range(1, len(DEPTHS) + 1)
        ]


def _layer(c_in: int, c_out: int, drop: float) -> Choice:
    stride = 1 if c_in == c_out else 2
    identity = nn.Identity() if stride == 1 else nn.Sequential(*_conv_bn(c_in, c_out, 1, stride))
    block = partial(InvertedResidual, c_in, c_out, stride, drop=drop)
    options = (identity, partial(block, expansion=3, kernel=3), partial(block, expansion=6, kernel=5))
    return Choice(dict(zip(OPTIONS, options, strict=True)))


@SPACES.register("nas_bench_macro")
def nas_bench_macro() -> Space:
    """The space of the benchmark's 6,561 networks."""
    return Space(MacroNet, name="nas_bench_macro", canonical=_canonical)


def to_string(decisions: Mapping[str, Value]) -> str:
    """The benchmark's eight digits for the decisions of a genotype."""
    return "".join(str(OPTIONS.index(str(decisions[f"blocks/{i}"]))) for i in range(sum(DEPTHS)))


def _canonical(decisions: Mapping[str, Value]) -> str:
    """The digits of each stage: its first layer as it is, of the others those that are no identity."""
    digits = iter(to_string(decisions))
    stages = ["".join(next(digits) for _ in range(depth)) for depth in DEPTHS]
    return "|".join(stage[0] + stage[1:].replace("0", "") for stage in stages)
