"""The noise operation of RobustDARTS' space S4 (arXiv:1909.09656, section 3): a candidate that is never of use.

noise(x) = e,  e ~ N(0, 1) for every element of the output, independent of x and without a gradient
"""

import torch
from torch import Tensor, nn

from .identity import Sourceless
from .registry import OPERATIONS

__all__ = ["Noise"]


class Noise(Sourceless):
    """Standard normal numbers, in evaluation too.

    They come from torch's generator of the input's device, element by element in the order B, C, H, W.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Noise [B, c_out, ceil(H / stride), ceil(W / stride)] for `x` [B, C, H, W]."""
        # Not randn_like: it would fill a channels_last tensor in another order, so that executors drew other numbers.
        return torch.randn(self.shape(x), dtype=x.dtype, device=x.device)


@OPERATIONS.register("noise")
def noise(c_in: int, c_out: int, stride: int, affine: bool) -> nn.Module:
    """Standard normal noise."""
    return Noise(c_out, stride)
