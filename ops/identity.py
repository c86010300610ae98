"""Skip connections and the zero operation of DARTS (arXiv:1806.09055, section 3.1).

skip_connect = identity where stride is 1 and channels agree,
               FactorizedReduce where stride is 2, ReLU-Conv1x1-BN where only the channels differ
none         = zeros of the output's shape
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .channels_last import keep_contiguous, unsafe_in_channels_last
from .convolution import relu_conv_bn
from .preactivated import PreActivated
from .registry import OPERATIONS

__all__ = ["FactorizedReduce", "Zero", "skip_connect"]


class _TwoGrids(nn.Module):
    """Two 1x1 stride-2 convolutions, the second one pixel to the right and below, stacked along the channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False) if c_out > 1 else None
        if unsafe_in_channels_last(self.conv_1.weight, self.conv_1.stride):
            for conv in filter(None, (self.conv_1, self.conv_2)):
                keep_contiguous(conv)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_out, ceil(H / 2), ceil(W / 2)] of `x` [B, c_in, H, W]."""
        if torch.compiler.is_compiling():  # the same without a branch on sizes, which torch.export may leave free
            shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
            return self.conv_1(x) if self.conv_2 is None else torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1)
        height, width = x.shape[-2:]
        if height % 2 or width % 2:  # else the two grids differ in size; even sizes keep the published bits
            x = F.pad(x, (0, width % 2, 0, height % 2))
        if self.conv_2 is None:
            return self.conv_1(x)
        return torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1)


class FactorizedReduce(PreActivated):
    """[ReLU, two shifted 1x1 stride-2 convolutions, BN]: halves height and width (rounded up)."""

    def __init__(self, c_in: int, c_out: int, affine: bool = True) -> None:
        super().__init__(_TwoGrids(c_in, c_out), nn.BatchNorm2d(c_out, affine=affine))


class Sourceless(nn.Module):
    """An operation that reads nothing of its input [B, C, H, W] but the size."""

    def __init__(self, c_out: int, stride: int) -> None:
        super().__init__()
        self.c_out, self.stride = c_out, stride

    def extra_repr(self) -> str:
        return f"c_out={self.c_out}, stride={self.stride}"

    def shape(self, x: Tensor) -> tuple[int, int, int, int]:
        """(B, c_out, ceil(H / stride), ceil(W / stride)) for `x` [B, C, H, W]."""
        # As convolutions count: torch.export with free sizes does not see that another formula agrees.
        height, width = ((size - 1) // self.stride + 1 for size in x.shape[-2:])
        return x.shape[0], self.c_out, height, width


class Zero(Sourceless):
    """Zeros; executors may leave it out."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros [B, c_out, ceil(H / stride), ceil(W / stride)] for `x` [B, C, H, W]."""
        return x.new_zeros(self.shape(x))


@OPERATIONS.register("skip_connect")
def skip_connect(c_in: int, c_out: int, stride: int, affine: bool) -> nn.Module:
    """Identity, or the cheapest map where shapes differ."""
    if stride == 2:
        return FactorizedReduce(c_in, c_out, affine)
    return nn.Identity() if c_in == c_out else relu_conv_bn(c_in, c_out, 1, affine)


@OPERATIONS.register("none")
def none(c_in: int, c_out: int, stride: int, affine: bool) -> nn.Module:
    """No connection."""
    return Zero(c_out, stride)
