"""The first half of all separable convolutions that leave one state, in one operator: one read of the state for all.

    z[i] = pointwise(depthwise(relu(x), dw[i]), pw[i])            i = 1 .. n branches
    mean[i], var[i] over B, H', W' (biased), rstd[i] = 1 / sqrt(var[i] + eps)

n is edges x separable candidates: the first half of sep_conv 3x3 and 5x5 and the whole of dil_conv 3x3 and 5x5 (DARTS,
arXiv:1806.09055) for each edge. Backwards, with dz[i] = coef[i, 0] g[i] + coef[i, 1] z[i] + coef[i, 2] made on load,

    dx = [x > 0] * sum_i depthwise^T(pointwise^T(dz[i])) + add        and, where asked for, the weights' gradients.

A branch whose `gate` is 0 does not run: its outputs hold anything and its gradients are zeros.
"""
# B batch, C channels, H height, W width, n branches, k size of a filter

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SupernetError
from . import host
from .launch import launch
from .separable import (
    branch,
    branch_backward,
    channels_last,
    check_activations,
    check_gate,
    check_small,
    check_weights,
    packed,
    pixels,
    room,
    runs,
    statistics,
    statistics_coefficients,
)  # fmt: skip

__all__ = ["edge_group", "edge_group_bwd", "edge_group_bwd_reference", "edge_group_reference"]

Forward = tuple[Tensor, Tensor, Tensor, Tensor]
Backward = tuple[Tensor, list[Tensor], list[Tensor]]


def edge_group_reference(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    """What `edge_group` computes, branch by branch."""
    z = room(x, len(dw), stride)
    small = [dw[0].new_zeros((len(dw), x.shape[1])) for _ in range(3)]
    for i, on in enumerate(runs(gate, len(dw))):
        if on:
            _, full = branch(F.relu(x), dw[i], pw[i], stride, dilation[i])
            z[i] = full.to(x.dtype)
            for kept, value in zip(small, statistics(full, eps), strict=True):
                kept[i] = value
    return z, small[0], small[1], small[2]


def edge_group_bwd_reference(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int,
    g: Sequence[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    """What `edge_group_bwd` computes, branch by branch."""
    u, total = F.relu(x), x.new_zeros(x.shape, dtype=dw[0].dtype)
    ddw, dpw = ([torch.zeros_like(w) for w in group] if weights else [] for group in (dw, pw))
    for i, on in enumerate(runs(gate, len(dw))):
        if on:
            a, b, c = (coef[i, j].view(-1, 1, 1) for j in range(3))
            du, one, other = branch_backward(u, dw[i], pw[i], stride, dilation[i], a * g[i] + b * z[i] + c, weights)
            total += du
            if one is not None and other is not None:
                ddw[i], dpw[i] = one, other
    dx = torch.where(x <= 0, torch.zeros_like(total), total)
    return channels_last((dx if add is None else dx + add).to(x.dtype)), ddw, dpw


@torch.library.custom_op("supernet::edge_group", mutates_args=())
def edge_group(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(z [n, B, C, H', W'], each channels-last, mean [n, C], var [n, C], rstd [n, C]); H' = ceil(H / stride).

    `x` [B, C, H, W] float32 or bf16 (float64 on the CPU), `dw[i]` [C, 1, k, k], `pw[i]` [C, C, 1, 1] float32 (float64),
    `dilation[i]` 1 or 2, `stride` 1 or 2, `gate` [n]. An `x` that is not channels-last is copied. Raises
    SupernetError for anything else.
    """
    _check(x, dw, pw, dilation, stride, gate)
    x, dw, pw = channels_last(x), [w.contiguous() for w in dw], [w.contiguous() for w in pw]
    gate = None if gate is None else gate.contiguous()
    if x.is_cuda:
        from .separable_forward import edge_group_launches

        z = room(x, len(dw), stride)
        mean, var, rstd = (dw[0].new_zeros((len(dw), x.shape[1])) for _ in range(3))
        launch(edge_group_launches(x, dw, pw, dilation, stride, eps, gate, z, mean, var, rstd), x.device)
        return z, mean, var, rstd
    if host.serves(x):
        return host.bodies().edge_group(x, dw, pw, dilation, stride, eps, gate)
    return edge_group_reference(x, dw, pw, dilation, stride, eps, gate)


@torch.library.custom_op("supernet::edge_group_bwd", mutates_args=())
def edge_group_bwd(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int,
    g: list[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """(dx [B, C, H, W], ddw, dpw); no ddw, dpw unless `weights`. `g` n tensors [B, C, H', W'], `coef` [n, 3, C]."""
    _check(x, dw, pw, dilation, stride, gate)
    check_activations("edge_group_bwd", [("z", z[0]), *((f"g[{i}]", y) for i, y in enumerate(g))])
    check_small("edge_group_bwd", [("coef", coef)], (len(dw), 3, x.shape[1]), x)
    x, g, z, coef = channels_last(x), [channels_last(y) for y in g], packed(z), coef.contiguous()
    dw, pw = [w.contiguous() for w in dw], [w.contiguous() for w in pw]
    gate = None if gate is None else gate.contiguous()
    add = None if add is None else channels_last(add)
    if x.is_cuda:
        from .separable_backward import edge_group_bwd_launches

        dx = torch.empty_like(x, memory_format=torch.channels_last)
        ddw, dpw = ([torch.empty_like(w) for w in group] if weights else [] for group in (dw, pw))
        outputs = (dx, ddw, dpw)
        launch(edge_group_bwd_launches(x, dw, pw, dilation, stride, g, z, coef, add, weights, gate, *outputs), x.device)
        return dx, ddw, dpw
    if host.serves(x):
        return host.bodies().edge_group_bwd(x, dw, pw, dilation, stride, g, z, coef, add, weights, gate)
    return edge_group_bwd_reference(x, dw, pw, dilation, stride, g, z, coef, add, weights, gate)


@edge_group.register_fake
def _(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    _check(x, dw, pw, dilation, stride, gate)
    mean, var, rstd = (dw[0].new_empty((len(dw), x.shape[1])) for _ in range(3))
    return room(x, len(dw), stride), mean, var, rstd


@edge_group_bwd.register_fake
def _(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int,
    g: list[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    ddw, dpw = ([torch.empty_like(w, memory_format=torch.contiguous_format) for w in group] if weights else []
                for group in (dw, pw))  # fmt: skip
    return dx, ddw, dpw


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    x, dw, pw, ctx.dilation, ctx.stride, _, gate = inputs
    z, mean, _, rstd = output
    ctx.n = len(dw)
    ctx.save_for_backward(x, z, mean, rstd, gate, *dw, *pw)


def _backward(ctx: Any, gz: Tensor | None, g_mean: Any, g_var: Any, g_rstd: Any) -> tuple[Any, ...]:
    x, z, mean, rstd, gate, *both = ctx.saved_tensors
    dw, pw = both[: ctx.n], both[ctx.n :]
    gz = torch.zeros_like(z) if gz is None else gz
    coef = statistics_coefficients(mean, rstd, g_mean, g_var, g_rstd, pixels(z[0]))
    wanted = ctx.needs_input_grad[1:3]
    weights = any(any(w) if isinstance(w, Sequence) else w for w in wanted)
    g = [y.to(x.dtype) for y in gz]
    dx, ddw, dpw = edge_group_bwd(x, dw, pw, ctx.dilation, ctx.stride, g, z, coef, None, weights, gate)
    nothing = [None] * ctx.n
    return dx, ddw or nothing, dpw or nothing, None, None, None, None


edge_group.register_autograd(_backward, setup_context=_setup)


def _check(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int, gate: Tensor | None
) -> None:
    check_activations("edge_group", [("x", x)])
    check_weights("edge_group", x, dw, pw)
    check_gate("edge_group", gate, len(dw), x)
    if stride not in (1, 2) or len(dilation) != len(dw) or any(d not in (1, 2) for d in dilation):
        given = f"stride={stride}, dilation={list(dilation)} for {len(dw)} branches"
        raise SupernetError(f"edge_group: {given}; stride is 1 or 2, and each branch has a dilation of 1 or 2")
