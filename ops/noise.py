"""The noise operation of RobustDARTS' space S4 (arXiv:1909.09656, section 3): a candidate that is never of use.

noise(x) = e,  e ~ N(0, 1) for every element of the output, independent of x and without a gradient
"""

import torch
from torch import Tensor, nn

from .registry import OPERATIONS

__all__ = ["Noise"]


class Noise(nn.Module):
    """Standard normal numbers of shape [B, c_out, ceil(H / stride), ceil(W / stride)], in evaluation too.

    They come from torch's generator of the input's device, element by element in the order B, C, H, W.
    """

    def __init__(self, c_out: int, stride: int) -> None:
        super().__init__()
        self.c_out, self.stride = c_out, stride

    def extra_repr(self) -> str:
        return f"c_out={self.c_out}, stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-size // self.stride) for size in x.shape[-2:])
        # Not randn_like: it would fill a channels_last tensor in another order, so that executors drew other numbers.
        return torch.randn((x.shape[0], self.c_out, height, width), dtype=x.dtype, device=x.device)


@OPERATIONS.register("noise")
def noise(c_in: int, c_out: int, stride: int, affine: bool) -> nn.Module:
    """Standard normal noise."""
    return Noise(c_out, stride)
