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
from typing import Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SupernetError
from .. import host
from ..gpu.launch import launch
from ..normalisation import statistics, statistics_coefficients
from ..operators import Context, Inputs, differentiable, fake, not_differentiable, operator
from ..tensors import channels_last, check_activations, check_gate, check_small, pixels, room, runs
from . import cpu
from .backward import edge_group_bwd_launches
from .branches import Branches, Outputs, Upstream, branch, branch_backward, check_weights, weights_like
from .forward import edge_group_launches

__all__ = ["edge_group", "edge_group_bwd", "edge_group_bwd_reference", "edge_group_reference"]

Forward: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # z, mean, var, rstd
Backward: TypeAlias = tuple[Tensor, list[Tensor], list[Tensor]]  # dx, ddw, dpw


def edge_group_reference(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    """What `edge_group` computes, branch by branch: z [n, B, C, H', W'], mean, var and rstd [n, C].

    `x` is [B, C, H, W], `dw[i]` [C, 1, k, k], `pw[i]` [C, C, 1, 1], `gate` [n].
    """
    out = Outputs(room(x, len(dw), stride), *(dw[0].new_zeros((len(dw), x.shape[1])) for _ in range(3)))
    for i, on in enumerate(runs(gate, len(dw))):
        if on:
            z = branch(F.relu(x), dw[i], pw[i], stride, dilation[i])
            for room_, value in zip(out, (z.to(x.dtype), *statistics(z, eps)), strict=True):
                room_[i] = value
    return out


def edge_group_bwd_reference(
    x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], dilation: Sequence[int], stride: int,
    g: Sequence[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    """What `edge_group_bwd` computes, branch by branch: dx [B, C, H, W] and the gradients of `dw` and `pw`.

    `x` and `add` are [B, C, H, W], `dw[i]` [C, 1, k, k], `pw[i]` [C, C, 1, 1], `g[i]` [B, C, H', W'],
    `z` [n, B, C, H', W'], `coef` [n, 3, C], `gate` [n].
    """
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


@operator
def edge_group(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(z [n, B, C, H', W'], each channels-last, mean [n, C], var [n, C], rstd [n, C]); H' = ceil(H / stride).

    `x` [B, C, H, W] float32 or bf16 (float64 on the CPU), `dw[i]` [C, 1, k, k], `pw[i]` [C, C, 1, 1] float32 (float64),
    `dilation[i]` 1 or 2, `stride` 1 or 2, `gate` [n]. An `x` that is not channels-last is copied. Raises
    SupernetError for anything else.
    """
    branches = Branches(dw, pw, dilation, gate)
    _check(x, branches, stride)
    x, branches = channels_last(x), branches.contiguous()
    if x.is_cuda:
        out = Outputs(room(x, len(dw), stride), *(dw[0].new_zeros((len(dw), x.shape[1])) for _ in range(3)))
        launch(edge_group_launches(x, branches, stride, eps, out), x.device)
        return out
    if host.serves(x):
        return cpu.edge_group(x, branches, stride, eps)
    return edge_group_reference(x, *branches[:3], stride, eps, branches.gate)


@operator
def edge_group_bwd(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int,
    g: list[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """(dx [B, C, H, W], ddw, dpw), the last two shaped as `dw` and `pw` and empty unless `weights`.

    `g` are n tensors [B, C, H', W'], `z` [n, B, C, H', W'] is the forward's, `coef` [n, 3, C], `add` [B, C, H, W]; the
    other arguments are those of `edge_group`. Raises SupernetError for other shapes and types.
    """
    branches = Branches(dw, pw, dilation, gate)
    _check(x, branches, stride)
    check_activations("edge_group_bwd", [("z", z[0]), *((f"g[{i}]", y) for i, y in enumerate(g))])
    check_small("edge_group_bwd", [("coef", coef)], (len(dw), 3, x.shape[1]), x)
    x, branches, upstream = channels_last(x), branches.contiguous(), Upstream(g, z, coef).in_order()
    add = None if add is None else channels_last(add)
    if x.is_cuda:
        out = _outputs(x, dw, pw, weights)
        launch(edge_group_bwd_launches(x, branches, stride, upstream, add, *out), x.device)
        return out
    if host.serves(x):
        return cpu.edge_group_bwd(x, branches, stride, upstream, add, weights)
    return edge_group_bwd_reference(x, *branches[:3], stride, *upstream, add, weights, branches.gate)


@fake("edge_group")
def _(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int, eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    _check(x, Branches(dw, pw, dilation, gate), stride)
    mean, var, rstd = (dw[0].new_empty((len(dw), x.shape[1])) for _ in range(3))
    return room(x, len(dw), stride), mean, var, rstd


@fake("edge_group_bwd")
def _(
    x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int,
    g: list[Tensor], z: Tensor, coef: Tensor, add: Tensor | None, weights: bool, gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    return _outputs(x, dw, pw, weights)


def _outputs(x: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], weights: bool) -> Backward:
    return torch.empty_like(x, memory_format=torch.channels_last), *weights_like(dw, pw, weights)


class _Saved(Context, Protocol):
    """With what `edge_group` was called; n branches."""

    dilation: list[int]
    stride: int
    n: int


def _setup(ctx: _Saved, inputs: Inputs, output: Forward) -> None:
    x, dw, pw, ctx.dilation, ctx.stride, _, gate = inputs
    z, mean, _, rstd = output
    ctx.n = len(dw)
    ctx.save_for_backward(x, z, mean, rstd, gate, *dw, *pw)


def _backward(
    ctx: _Saved, gz: Tensor | None, g_mean: Tensor | None, g_var: Tensor | None, g_rstd: Tensor | None
) -> tuple[object, ...]:
    x, z, mean, rstd, gate, *both = ctx.saved_tensors
    dw, pw = both[: ctx.n], both[ctx.n :]
    gz = torch.zeros_like(z) if gz is None else gz
    coef = statistics_coefficients(mean, rstd, g_mean, g_var, g_rstd, pixels(z[0]))
    weights = any(any(w) if isinstance(w, Sequence) else w for w in ctx.needs_input_grad[1:3])
    g = [y.to(x.dtype) for y in gz]
    dx, ddw, dpw = edge_group_bwd(x, dw, pw, ctx.dilation, ctx.stride, g, z, coef, None, weights, gate)
    nothing = [None] * ctx.n
    return dx, ddw or nothing, dpw or nothing, None, None, None, None


differentiable("edge_group", _backward, _setup)
not_differentiable("edge_group_bwd")


def _check(x: Tensor, branches: Branches, stride: int) -> None:
    dw, pw, dilation, gate = branches
    check_activations("edge_group", [("x", x)])
    check_weights("edge_group", x, dw, pw)
    check_gate("edge_group", gate, len(dw), x)
    if stride not in (1, 2) or len(dilation) != len(dw) or any(d not in (1, 2) for d in dilation):
        actual = f"stride={stride}, dilation={list(dilation)} for {len(dw)} branches"
        raise SupernetError(f"edge_group: {actual}; stride is 1 or 2, and each branch has a dilation of 1 or 2")
