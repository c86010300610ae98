"""Depthwise separable and dilated convolutions of DARTS (arXiv:1806.09055, section 3.1).

    sep_conv_kxk = [ReLU, depthwise kxk stride s, pointwise, BN, ReLU, depthwise kxk, pointwise, BN]
    dil_conv_kxk = [ReLU, depthwise kxk stride s dilation 2, pointwise, BN]

Padding keeps ceil(H / stride); no convolution has a bias.
"""

from functools import partial

from torch import nn

from .preactivated import PreActivated
from .registry import OPERATIONS

__all__ = ["dil_conv", "sep_conv"]


def sep_conv(c_in: int, c_out: int, stride: int, affine: bool, kernel: int) -> PreActivated:
    """Two separable convolutions, the first one strided."""
    return PreActivated(
        *_separable(c_in, c_in, stride, affine, kernel),
        nn.ReLU(inplace=False),
        *_separable(c_in, c_out, 1, affine, kernel),
    )


def dil_conv(c_in: int, c_out: int, stride: int, affine: bool, kernel: int) -> PreActivated:
    """One separable convolution with dilation 2."""
    return PreActivated(*_separable(c_in, c_out, stride, affine, kernel, dilation=2))


def _separable(c_in: int, c_out: int, stride: int, affine: bool, kernel: int, dilation: int = 1) -> list[nn.Module]:
    pad = dilation * (kernel // 2)
    return [
        nn.Conv2d(c_in, c_in, kernel, stride=stride, padding=pad, dilation=dilation, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    ]


for _kernel in (3, 5, 7):
    OPERATIONS.register(f"sep_conv_{_kernel}x{_kernel}")(partial(sep_conv, kernel=_kernel))
for _kernel in (3, 5):
    OPERATIONS.register(f"dil_conv_{_kernel}x{_kernel}")(partial(dil_conv, kernel=_kernel))
