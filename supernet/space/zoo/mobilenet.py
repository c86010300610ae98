"""A space like Once-for-all's MobileNetV3 (Cai et al.; arXiv:1908.09791), of ProxylessNAS' blocks (arXiv:1812.00332).

    stem conv3x3, BN, hardswish | stages of stride 2, 2, 2, 1, 2 | conv1x1, BN, hardswish | pool | linear

A stage chooses its width and its depth, each of its blocks a kernel, an expansion and whether it has squeeze-excite.
With n = 3 * 3 * 2 settings a block there are (2 * (n^2 + n^3 + n^4))^5 = 5.4e26 networks: a block that is not there has
nothing to decide.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from ...errors import SupernetError, unknown
from ..choice import Choice
from ..layers import Conv2d, Norm, Repeat
from ..layers.activation import HardSigmoid
from ..limits import check_options, check_sizes
from ..registry import SPACES
from ..space import Space
from ..value import Size, rounded
from .timm_interface import Classifier, FeatureInfo, drop_path

__all__ = ["MBConv", "MobileNet", "mobilenetv3_like"]

STRIDES = (2, 2, 2, 1, 2)  # of the stages
STEMS = {"cifar": 1, "imagenet": 2}  # stride of the stem: 1 for images up to 64 pixels


def _conv_norm(c_in: Size, c_out: Size, kernel: Size, stride: int = 1, groups: Size = 1) -> nn.Sequential:
    return nn.Sequential(Conv2d(c_in, c_out, kernel, stride, groups=groups, bias=False), Norm(c_out))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means (arXiv:1709.01507)."""

    def __init__(self, channels: Size) -> None:
        super().__init__()
        narrow = rounded(channels // 4)
        self.gate = nn.Sequential(Conv2d(channels, narrow, 1), nn.ReLU(), Conv2d(narrow, channels, 1), HardSigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        return x * self.gate(x.mean(dim=(2, 3), keepdim=True))


class MBConv(nn.Module):
    """Expand, filter each channel, perhaps squeeze and excite, project; `c_in` and `c_out` may be choices."""

    def __init__(
        self,
        c_in: Size,
        c_out: Size,
        stride: int,
        act: type[nn.Module],
        *,
        kernels: Sequence[int],
        expansions: Sequence[float],
        drop: float,
    ) -> None:
        super().__init__()
        self.kernel, self.expansion = Choice(list(kernels)), Choice(list(expansions))
        wide = rounded(c_in * self.expansion)
        self.expand = nn.Sequential(_conv_norm(c_in, wide, 1), act())
        self.filter = nn.Sequential(_conv_norm(wide, wide, self.kernel, stride, groups=wide), act())
        self.squeeze = Choice({"none": nn.Identity(), "se": SqueezeExcite(wide)})
        self.project = _conv_norm(wide, c_out, 1)
        self.residual = drop_path(drop)() if stride == 1 and c_in is c_out else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, H / stride, W / stride]."""
        y = self.project(self.squeeze(self.filter(self.expand(x))))
        return y if self.residual is None else x + self.residual(y)


class MobileNet(Classifier):
    """The network; `channels` is the stem's width, `features` that of the last convolution."""

    block_pattern = r"^blocks\.(\d+)\.(\d+)"

    def __init__(
        self,
        widths: Sequence[Sequence[int]],
        depths: Sequence[int],
        kernels: Sequence[int],
        expansions: Sequence[float],
        *,
        channels: int = 16,
        features: int = 1280,
        stem: str = "cifar",
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        check_sizes(channels=channels, features=features, in_chans=in_chans)
        if stem not in STEMS:
            raise SupernetError(unknown("stem", stem, STEMS))
        self.stem = nn.Sequential(_conv_norm(in_chans, channels, 3, STEMS[stem]), nn.Hardswish())
        self.stem_stride = STEMS[stem]
        for stage, options in enumerate(widths):
            setattr(self, f"width{stage}", Choice(list(options)))
        self.blocks = nn.ModuleList()
        c_in: Size = channels
        for stage, stride in zip(range(len(widths)), STRIDES, strict=False):
            c_out = getattr(self, f"width{stage}")
            act = nn.ReLU if stage < 2 else nn.Hardswish
            block = partial(MBConv, act=act, kernels=kernels, expansions=expansions, drop=drop_path_rate)
            place = partial(_place, block, c_in, c_out, stride)
            self.blocks.append(Repeat(place, Choice(list(depths))))
            c_in = c_out
        self.last = nn.Sequential(_conv_norm(c_in, features, 1), nn.Hardswish())
        self.num_features = features
        self.classifier = self.make_head()

    @property
    def feature_info(self) -> list[FeatureInfo]:  # type: ignore[override]
        """The last map of each resolution, of a network without open choices."""
        maps: list[FeatureInfo] = []
        reduction = self.stem_stride
        for stage, stride in zip(range(len(self.blocks)), STRIDES, strict=False):
            maps = maps if stride > 1 else maps[:-1]
            reduction *= stride
            width = getattr(self, f"width{stage}")
            maps.append({"num_chs": width, "reduction": reduction, "module": f"blocks.{stage}"})
        return maps


def _place(block: Callable[..., MBConv], c_in: Size, c_out: Size, stride: int, i: int) -> MBConv:
    return block(c_in if i == 0 else c_out, c_out, stride if i == 0 else 1)


@SPACES.register("mobilenetv3_like")
def mobilenetv3_like(
    widths: Sequence[int] = (24, 40, 80, 112, 160),
    factors: Sequence[float] = (1.0, 1.25),
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
) -> Space:
    """The space of networks with a stage for each of `widths` (at most five), which `factors` multiply."""
    check_options(widths=widths)
    check_options(16, factors=factors, expansions=expansions)
    check_options(50, kernels=kernels)
    check_options(8, depths=depths)  # of five stages: deeper ones take seconds to build
    if len(widths) > len(STRIDES):
        raise SupernetError(
            f"space argument widths={list(widths)} must have at most {len(STRIDES)} numbers, one a stage"
        )
    args = {"widths": widths, "factors": factors, "depths": depths, "kernels": kernels, "expansions": expansions}
    options = [sorted({rounded(width * factor) for factor in factors}) for width in widths]
    net = partial(MobileNet, options, depths, kernels, expansions)
    return Space(net, name="mobilenetv3_like", args={key: list(value) for key, value in args.items()})
