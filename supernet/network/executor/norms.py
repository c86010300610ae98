"""Batch norms as four numbers a channel, for kernels that normalise where they read; running statistics of many.

    y = (z - mean) * scale + shift,   scale = gamma / std,  shift = beta      (gamma = 1, beta = 0 without affine)

Mean, scale, shift and rstd of n norms are one tensor [4, n, C]. rstd is 0 where mean and scale are constants: in
evaluation, where they are the running statistics, and for terms that have no norm (mean 0, scale 1, shift 0).
"""
# B batch, C channels, H height, W width, n norms, N = B * H * W

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Advance", "pack", "plain", "uses_batch"]

Norm = nn.BatchNorm2d | None


def uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether it normalises by the batch's statistics, as `nn.BatchNorm2d` decides it."""
    return norm.training or norm.running_mean is None or norm.running_var is None


def plain(like: Tensor, n: int) -> Tensor:
    """[4, n, C] of n terms without a norm; `like` [C]."""
    packed = like.new_zeros((4, n, like.shape[0]))
    packed[1].fill_(1)
    return packed


def pack(norms: Sequence[Norm], mean: Tensor, var: Tensor, rstd: Tensor, eps: float) -> Tensor:
    """[4, n, C] of norms over tensors of these statistics [n, C]; `rstd` [n, C] is 1 / sqrt(var + eps)."""
    simple = all(norm is not None and uses_batch(norm) and not norm.affine and norm.eps == eps for norm in norms)
    if simple:
        return torch.stack([mean, rstd, torch.zeros_like(mean), rstd])
    return torch.stack([_packed(norm, mean[i], var[i]) for i, norm in enumerate(norms)], dim=1)


def _packed(norm: Norm, mean: Tensor, var: Tensor) -> Tensor:
    """[4, C] of one norm."""
    if norm is None:
        return plain(mean, 1)[:, 0]
    rstd, constant = torch.zeros_like(mean), not uses_batch(norm)
    if constant and norm.running_mean is not None and norm.running_var is not None:
        mean, var = norm.running_mean.to(mean.dtype), norm.running_var.to(var.dtype)
    scale = (var + norm.eps).rsqrt()
    if not constant:
        rstd = scale
    gamma, beta = norm.weight, norm.bias
    scale = scale if gamma is None else scale * gamma
    return torch.stack([mean, scale, torch.zeros_like(mean) if beta is None else beta.to(mean.dtype), rstd])


class _Row(NamedTuple):
    """One norm's statistics [C] of a batch; `gate` [] is whether they count."""

    norm: nn.BatchNorm2d
    mean: Tensor
    var: Tensor
    gate: Tensor | None


class Advance:
    """Collects norms and their batch's statistics, to move all running statistics of a cell in a few calls."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def add(self, norms: Sequence[Norm], mean: Tensor, var: Tensor, count: int, gate: Tensor | None = None) -> None:
        """The statistics [n, C] of n norms over `count` pixels, `var` biased; where `gate` [n] is 0 they do not count.

        Raises ValueError for norms that take the statistics of one pixel.
        """
        if count == 1 and any(norm is not None and uses_batch(norm) for norm in norms):
            raise ValueError("Expected more than 1 value per channel when training")  # as torch says of a norm
        var = var * (count / max(count - 1, 1))  # running variances are unbiased
        for i, norm in enumerate(norms):
            if norm is not None and norm.training and norm.track_running_stats and norm.running_mean is not None:
                self._rows.append(_Row(norm, mean[i], var[i], None if gate is None else gate[i] != 0))

    def apply(self) -> None:
        """Moves them, each by its norm's own momentum."""
        for momentum in dict.fromkeys(row.norm.momentum for row in self._rows):
            rows = [row for row in self._rows if row.norm.momentum == momentum]
            norms = [row.norm for row in rows]
            _count([norm.num_batches_tracked for norm in norms], [row.gate for row in rows])
            for running, new in (
                ([norm.running_mean for norm in norms], [row.mean for row in rows]),
                ([norm.running_var for norm in norms], [row.var for row in rows]),
            ):
                _move(norms, [x for x in running if x is not None], new, [row.gate for row in rows])


def _move(
    norms: Sequence[nn.BatchNorm2d], running: list[Tensor], new: Sequence[Tensor], gates: Sequence[Tensor | None]
) -> None:
    """Running statistics towards new ones; all norms have one momentum."""
    values = [
        value.to(old.dtype) if gate is None else torch.where(gate, value.to(old.dtype), old)
        for value, old, gate in zip(new, running, gates, strict=True)
    ]
    momentum = norms[0].momentum
    if momentum is not None:
        torch._foreach_lerp_(running, values, momentum)
        return
    for norm, old, value in zip(norms, running, values, strict=True):  # the average over all batches
        old.lerp_(value, 1.0 / float(norm.num_batches_tracked or 1))


def _count(counts: Sequence[Tensor | None], gates: Sequence[Tensor | None]) -> None:
    """One more batch for each norm that counts them, where its gate is not 0."""
    counted = [(count, gate) for count, gate in zip(counts, gates, strict=True) if count is not None]
    if any(gate is not None for _, gate in counted):
        torch._foreach_add_(
            [count for count, _ in counted], [gate.to(torch.int64) for _, gate in counted if gate is not None]
        )
    elif counted:
        torch._foreach_add_([count for count, _ in counted], 1)
