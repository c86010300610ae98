"""Separable convolutions in plain torch: what edge_group.py and sep_second.py compute, and their checks.

    z = pointwise(depthwise(u, dw), pw)               u: the rectified (and normalised) input

Backwards the upstream gradient is an affine function of two tensors, dz = a g + b z + c per channel: batch norm's
backward is one, with g the gradient of the normalised value, so dz is computed where it is used and is never stored.
"""
# B batch, C channels, H height, W width, n branches, N = B * H' * W' pixels of an output

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from ..errors import SupernetError

__all__ = [
    "branch",
    "branch_backward",
    "channels_last",
    "check_activations",
    "check_gate",
    "check_small",
    "check_weights",
    "norm_coefficients",
    "packed",
    "pixels",
    "room",
    "runs",
    "stacked",
    "statistics",
    "statistics_coefficients",
]

KERNELS = (3, 5, 7)
STORAGE = (torch.float32, torch.bfloat16)


@torch.autocast("cpu", enabled=False)  # the types are those of the arguments
def branch(u: Tensor, dw: Tensor, pw: Tensor, stride: int, dilation: int) -> tuple[Tensor, Tensor]:
    """(h, z): the depthwise output and the branch's, in the type of the weights; `u` [B, C, H, W]."""
    pad = dilation * (dw.shape[-1] // 2)
    h = F.conv2d(u.to(dw.dtype), dw, stride=stride, padding=pad, dilation=dilation, groups=dw.shape[0])
    return h, F.conv2d(h, pw)


@torch.autocast("cpu", enabled=False)
def branch_backward(
    u: Tensor, dw: Tensor, pw: Tensor, stride: int, dilation: int, dz: Tensor, weights: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(du, ddw, dpw) of `branch`; the last two where `weights`."""
    c, pad, u = dw.shape[0], dilation * (dw.shape[-1] // 2), u.to(dw.dtype)
    dh = F.conv2d(dz, pw.transpose(0, 1))
    du = conv2d_input(u.shape, dw, dh, stride=stride, padding=pad, dilation=dilation, groups=c)
    if not weights:
        return du, None, None
    h = F.conv2d(u, dw, stride=stride, padding=pad, dilation=dilation, groups=c)
    ddw = conv2d_weight(u, dw.shape, dh, stride=stride, padding=pad, dilation=dilation, groups=c)
    return du, ddw, conv2d_weight(h, pw.shape, dz)


def statistics(z: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, biased variance, 1 / sqrt(variance + eps)) [C] of one output [B, C, H, W]."""
    var, mean = torch.var_mean(z, (0, 2, 3), correction=0)
    return mean, var, (var + eps).rsqrt()


def statistics_coefficients(
    mean: Tensor, rstd: Tensor, g_mean: Tensor | None, g_var: Tensor | None, g_rstd: Tensor | None, count: int
) -> Tensor:
    """[n, 3, C]: what the gradients of an output's statistics [n, C] add to its own, dz = g + b z + c."""
    zero = torch.zeros_like(mean)
    g_var = (zero if g_var is None else g_var) - (zero if g_rstd is None else 0.5 * g_rstd * rstd**3)
    slope = 2 * g_var / count
    level = zero if g_mean is None else g_mean / count
    return torch.stack([torch.ones_like(mean), slope, level - slope * mean], dim=1)


def norm_coefficients(a: Tensor, mean: Tensor, rstd: Tensor, sum_g: Tensor, sum_gz: Tensor, count: int) -> Tensor:
    """[..., 3, C]: (a, b, c) of dz = a g + b z + c, the backward of a norm with the factor `a` [..., C] in front of g.

        b = -a rstd^2 sum g (z - mean) / N         c = -a sum g / N - b mean       (b = c = 0 where rstd = 0)

    `sum_g`, `sum_gz` [..., C] are those sums over the `count` = N pixels.
    """
    constant, zero = rstd == 0, torch.zeros_like(a)  # not by a product: 0 * NaN is NaN
    b = torch.where(constant, zero, -a * rstd * rstd * sum_gz / count)
    c = torch.where(constant, zero, -a * sum_g / count - b * mean)
    return torch.stack([a, b, c], dim=-2)


def stacked(like: Tensor, n: int, height: int, width: int) -> Tensor:
    """Room [n, B, C, height, width] of which each of the n is channels-last."""
    b, c = like.shape[:2]
    return like.new_empty((n, b, height, width, c)).permute(0, 1, 4, 2, 3)


def room(x: Tensor, n: int, stride: int) -> Tensor:
    """`stacked` room for n outputs of `x` at this stride."""
    height, width = (-(-size // stride) for size in x.shape[-2:])
    return stacked(x, n, height, width)


def packed(z: Tensor) -> Tensor:
    """[n, B, C, H, W] in the memory order n, B, H, W, C, copied where it is not."""
    return z.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def channels_last(x: Tensor) -> Tensor:
    """`x` [B, C, H, W] in the memory order B, H, W, C, copied where it is not.

    A tensor with sizes of 1 may say that it is contiguous with any strides; kernels go by the memory order alone.
    """
    return x.contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> int:
    """B * H * W of [B, C, H, W]."""
    return x.shape[0] * x.shape[2] * x.shape[3]


def runs(gate: Tensor | None, n: int) -> list[bool]:
    """Which branches run; reads the gate, which the host waits for on a device."""
    return [True] * n if gate is None else (gate != 0).tolist()


def check_activations(who: str, named: Sequence[tuple[str, Tensor]]) -> None:
    """Raises SupernetError where they are not alike, or of a type or rank that is not served."""
    first = named[0][1]
    served = (*STORAGE, torch.float64) if first.device.type == "cpu" else STORAGE
    if first.dim() != 4 or first.dtype not in served or not first.shape[1]:
        given = f"{first.dtype} of shape {tuple(first.shape)}"
        allowed = f"[B, C, H, W] of {served} on {first.device.type}"
        raise SupernetError(f"{who} takes {named[0][0]} as {allowed}, not {given}")
    for name, x in named[1:]:
        if x.shape != first.shape or x.dtype != first.dtype or x.device != first.device:
            here, there = (f"{y.dtype} {tuple(y.shape)} on {y.device}" for y in (x, first))
            raise SupernetError(f"{who}: {name} is {here}, but {named[0][0]} {there}; they must be alike")


def check_weights(who: str, x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor]) -> None:
    """Raises SupernetError for weights that do not fit the activations `x`."""
    c, dtype = x.shape[1], torch.promote_types(x.dtype, torch.float32)
    if not dw or len(dw) != len(pw):
        raise SupernetError(f"{who} takes one pointwise weight for each depthwise one, not {len(dw)} and {len(pw)}")
    for i, (d, p) in enumerate(zip(dw, pw, strict=True)):
        k = d.shape[-1] if d.dim() == 4 else 0
        if k not in KERNELS or d.shape != (c, 1, k, k) or p.shape != (c, c, 1, 1):
            given = f"{tuple(d.shape)} and {tuple(p.shape)}"
            allowed = f"[C, 1, k, k], k of {KERNELS}, and [C, C, 1, 1], C = {c}"
            raise SupernetError(f"{who}: the weights of branch {i} are {given}; allowed: {allowed}")
        if not d.dtype == p.dtype == dtype or not d.device == p.device == x.device:
            given = f"{d.dtype} on {d.device}"
            raise SupernetError(f"{who}: the weights of branch {i} must be {dtype} on {x.device}, not {given}")


def check_small(who: str, named: Sequence[tuple[str, Tensor]], shape: Sequence[int], x: Tensor) -> None:
    """Raises SupernetError where a small tensor has another shape, type or device than `x` asks for."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    for name, small in named:
        if tuple(small.shape) != tuple(shape) or small.dtype != dtype or small.device != x.device:
            given = f"{small.dtype} {tuple(small.shape)} on {small.device}"
            raise SupernetError(f"{who} takes {name} as {dtype} {tuple(shape)} on {x.device}, not {given}")


def check_gate(who: str, gate: Tensor | None, n: int, x: Tensor) -> None:
    """Raises SupernetError for a gate that is not one number a branch."""
    if gate is not None:
        check_small(who, [("gate", gate)], (n,), x)
