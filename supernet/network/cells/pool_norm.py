"""A pooling followed by a batch norm without scale and shift.

The DARTS supernet normalises its pools, the derived network does not (arXiv:1806.09055, and the authors' code), so
`pool_bn=True` on a discrete network is what makes it equal to the supernet it came from.
"""

import torch
from torch import Tensor, nn

__all__ = ["PoolNorm", "with_pool_norm"]


class PoolNorm(nn.Module):
    """norm(pool(x)); no learned parameters."""

    def __init__(self, pool: nn.Module, channels: int) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W']"""
        return self.norm(self.pool(x))

    @torch.no_grad()
    def advance(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics toward this batch's `mean` and unbiased `var`, each of shape [C]."""
        norm = self.norm
        if not norm.track_running_stats:
            return
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked.add_(1)
        momentum = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(var, momentum)


def with_pool_norm(op: nn.Module, channels: int) -> nn.Module:
    """`op`, with a norm behind it where it is a pooling."""
    return PoolNorm(op, channels) if isinstance(op, nn.AvgPool2d | nn.MaxPool2d) else op
