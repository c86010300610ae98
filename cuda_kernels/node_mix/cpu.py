"""The compiled CPU bodies of nodes as functions of tensors.

They take float32 tensors on the CPU, allocate what they return and leave checks to the operators.
"""
# B batch, C channels, H height, W width, T terms, E bypasses, k parts of the channels

from collections.abc import Sequence

import torch
from torch import Tensor

from ..addresses import Ints, ints, pointer, table
from ..host import library
from ..tensors import channels_last, contiguous, pixels

__all__ = ["node_mix", "node_mix_bwd_reduce", "node_mix_shuffled"]


def node_mix(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None = None
) -> Tensor:
    """The node [B, C, H, W] of T terms [B, C, H, W], with factors [T, C], `p` and `gate` [T]."""
    z = [channels_last(t) for t in z]
    small = [contiguous(t) for t in (mean, scale, shift, p, gate)]
    out = torch.empty_like(z[0], memory_format=torch.channels_last)
    library().node_mix(torch.get_num_threads(), _sizes(z), table(z), *map(pointer, small), pointer(out))
    return out


def node_mix_bwd_reduce(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(dp [T], sum_g [C], sum_gz [T, C], coef [T, 3, C]) for `g` [B, C, H, W]; the others as in `node_mix`."""
    g, z = channels_last(g), [channels_last(t) for t in z]
    small = [contiguous(t) for t in (mean, scale, shift, rstd, p, gate)]
    terms, c = mean.shape
    out = p.new_zeros(terms), mean.new_empty(c), mean.new_zeros((terms, c)), mean.new_zeros((terms, 3, c))
    library().node_mix_bwd_reduce(
        torch.get_num_threads(), _sizes(z), pointer(g), table(z), *map(pointer, small), *map(pointer, out)
    )
    return out


def node_mix_shuffled(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor,
    bypass: Sequence[Tensor], beta: Tensor, k: int,
) -> Tensor:  # fmt: skip
    """The node [B, k C, H, W] of T terms [B, C, H, W] and E bypasses [B, k C, H, W].

    `mean`, `scale`, `shift` are [T, C], `p` [T], `beta` [E].
    """
    z, bypass = [channels_last(t) for t in z], [channels_last(t) for t in bypass]
    small, beta = [contiguous(t) for t in (mean, scale, shift, p)], beta.contiguous()
    out = torch.empty_like(bypass[0], memory_format=torch.channels_last)
    sizes = ints([*_sizes(z), len(bypass), k])
    tail = table(bypass), pointer(beta), pointer(out)
    library().node_mix_shuffled(torch.get_num_threads(), sizes, table(z), *map(pointer, small), *tail)
    return out


def _sizes(z: Sequence[Tensor]) -> Ints:
    return ints([pixels(z[0]), z[0].shape[1], len(z)])
