"""Separable convolutions in plain torch, and the groups of tensors that their operators take and return.

    z = pointwise(depthwise(u, dw), pw)               u: the rectified (and normalised) input

Backwards the upstream gradient is an affine function of two tensors, dz = a g + b z + c per channel: batch norm's
backward is one, with g the gradient of the normalised value, so dz is computed where it is used and is never stored.
"""
# B batch, C channels, H height, W width, n branches, k size of a filter

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from ...errors import SupernetError
from ..tensors import accumulator, channels_last, contiguous, packed

__all__ = ["Branches", "Norm", "Outputs", "Upstream", "branch", "branch_backward", "check_weights", "weights_like"]

KERNELS = (3, 5, 7)


class Branches(NamedTuple):
    """n separable convolutions of C channels; one whose `gate` [n] is 0 does not run."""

    dw: Sequence[Tensor]  # [C, 1, k, k] each
    pw: Sequence[Tensor]  # [C, C, 1, 1] each
    dilation: Sequence[int]  # 1 or 2
    gate: Tensor | None = None

    @property
    def filters(self) -> tuple[tuple[int, int], ...]:
        """(k, dilation) of each branch."""
        return tuple((w.shape[-1], d) for w, d in zip(self.dw, self.dilation, strict=True))

    def part(self, at: slice) -> "Branches":
        return Branches(self.dw[at], self.pw[at], self.dilation[at], None if self.gate is None else self.gate[at])

    def contiguous(self) -> "Branches":
        dw, pw = ([w.contiguous() for w in group] for group in (self.dw, self.pw))
        return Branches(dw, pw, self.dilation, contiguous(self.gate))


class Norm(NamedTuple):
    """v = (z - mean) * scale + shift before each branch, [n, C] each; `rstd` is 0 where statistics are constant."""

    mean: Tensor
    scale: Tensor
    shift: Tensor
    rstd: Tensor

    def part(self, at: slice) -> "Norm":
        return Norm(*(x[at] for x in self))

    def contiguous(self) -> "Norm":
        return Norm(*(x.contiguous() for x in self))


class Upstream(NamedTuple):
    """The gradient of each branch's output, dz[i] = coef[i, 0] g[i] + coef[i, 1] z[i] + coef[i, 2]."""

    g: Sequence[Tensor]  # [B, C, H', W'] each
    z: Tensor  # [n, B, C, H', W']
    coef: Tensor  # [n, 3, C]

    def part(self, at: slice) -> "Upstream":
        return Upstream(self.g[at], self.z[at], self.coef[at])

    def in_order(self) -> "Upstream":
        """In the memory order that kernels read."""
        return Upstream([channels_last(y) for y in self.g], packed(self.z), self.coef.contiguous())


class Outputs(NamedTuple):
    """z [n, B, C, H', W'], each channels-last, and its statistics [n, C]."""

    z: Tensor
    mean: Tensor
    var: Tensor
    rstd: Tensor


@torch.autocast("cpu", enabled=False)  # the types are those of the arguments
def branch(u: Tensor, dw: Tensor, pw: Tensor, stride: int, dilation: int) -> Tensor:
    """z [B, C, H', W'] of `u` [B, C, H, W], `dw` [C, 1, k, k] and `pw` [C, C, 1, 1], in the type of the weights."""
    pad = dilation * (dw.shape[-1] // 2)
    h = F.conv2d(u.to(dw.dtype), dw, stride=stride, padding=pad, dilation=dilation, groups=dw.shape[0])
    return F.conv2d(h, pw)


@torch.autocast("cpu", enabled=False)
def branch_backward(
    u: Tensor, dw: Tensor, pw: Tensor, stride: int, dilation: int, dz: Tensor, weights: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(du [B, C, H, W], ddw [C, 1, k, k], dpw [C, C, 1, 1]) of `branch` for dz [B, C, H', W']; the last two where
    `weights`."""
    c, pad, u = dw.shape[0], dilation * (dw.shape[-1] // 2), u.to(dw.dtype)
    dh = F.conv2d(dz, pw.transpose(0, 1))
    du = conv2d_input(u.shape, dw, dh, stride=stride, padding=pad, dilation=dilation, groups=c)
    if not weights:
        return du, None, None
    h = F.conv2d(u, dw, stride=stride, padding=pad, dilation=dilation, groups=c)
    ddw = conv2d_weight(u, dw.shape, dh, stride=stride, padding=pad, dilation=dilation, groups=c)
    return du, ddw, conv2d_weight(h, pw.shape, dz)


def weights_like(dw: Sequence[Tensor], pw: Sequence[Tensor], weights: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Room for the gradients of `dw` [C, 1, k, k] each and `pw` [C, C, 1, 1] each; none unless `weights`."""
    ddw, dpw = ([w.new_empty(w.shape) for w in group] if weights else [] for group in (dw, pw))
    return ddw, dpw


def check_weights(who: str, x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor]) -> None:
    """Raises SupernetError unless `dw` are [C, 1, k, k] and `pw` [C, C, 1, 1], fit for activations `x` [B, C, H, W]."""
    c, dtype = x.shape[1], accumulator(x)
    if not dw or len(dw) != len(pw):
        raise SupernetError(f"{who} takes one pointwise weight for each depthwise one, not {len(dw)} and {len(pw)}")
    for i, (d, p) in enumerate(zip(dw, pw, strict=True)):
        k = d.shape[-1] if d.dim() == 4 else 0
        if k not in KERNELS or d.shape != (c, 1, k, k) or p.shape != (c, c, 1, 1):
            actual = f"{tuple(d.shape)} and {tuple(p.shape)}"
            allowed = f"[C, 1, k, k], k of {KERNELS}, and [C, C, 1, 1], C = {c}"
            raise SupernetError(f"{who}: the weights of branch {i} are {actual}; allowed: {allowed}")
        if not d.dtype == p.dtype == dtype or not d.device == p.device == x.device:
            actual = f"{d.dtype} on {d.device}"
            raise SupernetError(f"{who}: the weights of branch {i} must be {dtype} on {x.device}, not {actual}")
