"""Partial channels (PC-DARTS, arXiv:1907.05737, section 3.1): the operations of an edge see 1 / k of its channels.

With c = C / k, the edge e from state x gives, for all its operations o at once,

    mix_e  = sum_o p[e, o] o(x[: c])                 c channels
    rest_e = beta_e x[c :]                           C - c channels that no operation sees; beta_e = sum_o p[e, o]
    y_e    = shuffle([mix_e, rest_e])                channel q k + j of it is channel j c + q of the two behind another

The paper's softmax makes beta_e = 1, and edge normalisation multiplies the row p[e] by a weight of the edge, which then
weighs the bypass too. Sums over edges may be taken before the shuffle, which only moves channels. On edges of stride 2
the bypass goes through a 2x2 max pool; the last window of an odd size takes the pixels that are there.
"""
# B batch, C channels, c = C / k those that operations see, H height, W width, E edges, O operations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SupernetError

__all__ = ["bypass", "join", "require_divisor", "share", "take"]


def require_divisor(channels: int, k: int) -> None:
    """Raises SupernetError where the operations of a cell of `channels` cannot see exactly 1 / k of them."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise SupernetError(f"network.partial={k!r} must be a whole number of 1 (every channel) or more")
    if channels % k:
        raise SupernetError(f"network.partial={k} must divide the channels of each cell, and one has {channels}")


def take(x: Tensor, k: int) -> Tensor:
    """The first c channels of `x` [B, C, H, W], which the operations see, in the memory format of `x`."""
    if k == 1:
        return x
    last = x.is_contiguous(memory_format=torch.channels_last)
    return x[:, : x.shape[1] // k].contiguous(
        memory_format=torch.channels_last if last else torch.contiguous_format
    )  # a slice would make each operation copy it


def bypass(x: Tensor, stride: int) -> Tensor:
    """`x` [B, C, H, W] at the size of the edge's output: [B, C, ceil(H / stride), ceil(W / stride)]."""
    return x if stride == 1 else F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def share(p: Tensor, mask: Sequence[bool]) -> Tensor:
    """beta of one edge: the sum of its row `p` [O] over the operations that run."""
    return p.sum() if all(mask) else p[[column for column, runs in enumerate(mask) if runs]].sum()


def join(mix: Tensor, rest: Tensor, k: int) -> Tensor:
    """The two behind one another and shuffled: [B, C, H, W] of `mix` [B, c, H, W] and `rest` [B, C - c, H, W]."""
    both = torch.cat([mix, rest], dim=1).permute(0, 2, 3, 1)  # B, H, W, C: one copy leaves it channels-last
    return both.unflatten(-1, (k, -1)).transpose(-1, -2).flatten(-2).permute(0, 3, 1, 2)
