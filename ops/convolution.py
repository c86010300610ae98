"""Plain convolutions: ReLU-Conv-BN of NAS-Bench-201 (arXiv:2001.00326, section 2.1) and the 1x7-7x1 pair of NASNet.

nor_conv_kxk  = [ReLU, conv kxk stride s pad k//2, BN]
conv_7x1_1x7  = [ReLU, conv 1x7 stride (1, s), conv 7x1 stride (s, 1), BN]      (arXiv:1707.07012, appendix A)
"""

from functools import partial

from torch import nn

from .preactivated import PreActivated
from .registry import OPERATIONS

__all__ = ["conv_7x1_1x7", "relu_conv_bn"]


def relu_conv_bn(c_in: int, c_out: int, stride: int = 1, affine: bool = True, kernel: int = 1) -> PreActivated:
    """[ReLU, conv, BN], no convolution bias."""
    return PreActivated(
        nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def conv_7x1_1x7(c_in: int, c_out: int, stride: int, affine: bool) -> PreActivated:
    """A 7x7 receptive field from two one-dimensional convolutions."""
    return PreActivated(
        nn.Conv2d(c_in, c_out, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(c_out, c_out, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


OPERATIONS.register("nor_conv_1x1")(partial(relu_conv_bn, kernel=1))
OPERATIONS.register("nor_conv_3x3")(partial(relu_conv_bn, kernel=3))
OPERATIONS.register("conv_7x1_1x7")(conv_7x1_1x7)
