"""3x3 pooling of DARTS and NAS-Bench-201: padding 1, averages over real pixels only (count_include_pad=False).

Pools carry no batch norm here: the DARTS supernet adds one behind each, its derived network does not, so the networks
decide. Where the channels differ a ReLU-Conv1x1-BN comes first, as in NAS-Bench-201.
"""

from functools import partial
from typing import Literal

from torch import nn

from .convolution import relu_conv_bn
from .registry import OPERATIONS

__all__ = ["pool_3x3"]


def pool_3x3(c_in: int, c_out: int, stride: int, affine: bool, kind: Literal["avg", "max"]) -> nn.Module:
    """Average or maximum over 3x3 windows."""
    pool: nn.Module
    if kind == "avg":
        pool = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    else:
        pool = nn.MaxPool2d(3, stride=stride, padding=1)
    return pool if c_in == c_out else nn.Sequential(relu_conv_bn(c_in, c_out, 1, affine), pool)


OPERATIONS.register("avg_pool_3x3")(partial(pool_3x3, kind="avg"))
OPERATIONS.register("max_pool_3x3")(partial(pool_3x3, kind="max"))
