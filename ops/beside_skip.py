"""Operations with a skip connection beside them, added: NAME_with_skip(x) = NAME(x) + skip_connect(x).

Where all candidates carry one, a search cannot win by the skip: the operation set "skip everywhere" of confopt's suite
(github.com/automl/ConfigurableOptimizer). With stride 2, or where the channels differ, each has a skip of its own.
"""

from functools import partial

from torch import Tensor, nn

from .identity import skip_connect
from .registry import OPERATIONS, operation

__all__ = ["WITH_SKIP", "BesideSkip"]

WITH_SKIP = (
    "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3", "max_pool_3x3",
    "avg_pool_3x3",
)  # fmt: skip


class BesideSkip(nn.Module):
    """op(x) + skip(x)."""

    def __init__(self, op: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.op, self.skip = op, skip

    def forward(self, x: Tensor) -> Tensor:
        """[B, c_in, H, W] to [B, c_out, ceil(H / stride), ceil(W / stride)]"""
        return self.op(x) + self.skip(x)


def with_skip(c_in: int, c_out: int, stride: int, affine: bool, name: str) -> BesideSkip:
    """The operation `name` with its skip connection."""
    return BesideSkip(operation(name, c_in, c_out, stride, affine), skip_connect(c_in, c_out, stride, affine))


for _name in WITH_SKIP:
    OPERATIONS.register(f"{_name}_with_skip")(partial(with_skip, name=_name))
