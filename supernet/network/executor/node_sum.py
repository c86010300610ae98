"""A node of any number of terms by the operators of node_mix.py, which take so many at once."""
# B batch, C channels, H height, W width, T terms of a node

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...cuda_kernels.node_mix.mix import MOST_TERMS, node_mix, node_mix_bwd_reduce

__all__ = ["MOST_TERMS", "mix", "unmix"]


def mix(z: Sequence[Tensor], packed: Tensor, p: Tensor, gate: Tensor | None) -> Tensor:
    """The node [B, C, H, W] of T terms `z` [B, C, H, W], weighed by `p` [T]; those whose `gate` [T] is 0 do not run.

    `packed` [4, T, C] is mean, scale, shift and rstd of each term's norm (norms.py).
    """
    parts = [
        node_mix(list(z[at]), *packed[:3, at].unbind(), p[at], None if gate is None else gate[at])
        for at in _pieces(len(z))
    ]
    return sum(parts[1:], parts[0])


def unmix(
    g: Tensor, z: Sequence[Tensor], packed: Tensor, p: Tensor, gate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(dp [T], sum_g [C], sum_gz [T, C], coef [T, 3, C]) of a node's gradient `g` [B, C, H, W]."""
    sums = [
        node_mix_bwd_reduce(g, list(z[at]), *packed[:, at].unbind(), p[at], None if gate is None else gate[at])
        for at in _pieces(len(z))
    ]
    if len(sums) == 1:
        return sums[0]
    dp, sum_g, sum_gz, coef = zip(*sums, strict=True)
    return torch.cat(dp), sum_g[0], torch.cat(sum_gz), torch.cat(coef)


def _pieces(terms: int) -> Iterator[slice]:
    for first in range(0, terms, MOST_TERMS):
        yield slice(first, first + MOST_TERMS)
