"""The second half of separable convolutions: normalise and rectify on load, depthwise, pointwise, in one operator.

    v[i]  = (z1[i] - mean[i]) * scale[i] + shift[i]                  per channel
    z2[i] = pointwise(depthwise(relu(v[i]), dw[i]), pw[i])           i = 1 .. m branches, stride 1
    mean2[i], var2[i] over B, H, W (biased), rstd2[i] = 1 / sqrt(var2[i] + eps)

Backwards, with dz2[i] = coef[i, 0] g[i] + coef[i, 1] z2[i] + coef[i, 2] computed on load,

    d1[i]  = [v[i] > 0] * depthwise^T(pointwise^T(dz2[i]))           the gradient of v[i]
    sum_d  = sum d1,  sum_dz = sum d1 (z1 - mean)                    over B, H, W
    coef1: the backward of the norm between, dz1 = coef1[0] d1 + coef1[1] z1 + coef1[2], for edge_group_bwd to load

rstd[i, c] = 0 marks statistics that are constants, as in evaluation. A branch whose `gate` is 0 does not run.
"""
# B batch, C channels, H height, W width, m branches, N = B * H * W

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import host
from ..gpu.launch import launch
from ..normalisation import norm_coefficients, statistics, statistics_coefficients
from ..operators import Context, Inputs, differentiable, fake, not_differentiable, operator
from ..tensors import channels_last, check_activations, check_gate, check_small, pixels, room, runs
from . import cpu
from .backward import SecondGradients, sep_second_bwd_launches
from .branches import Branches, Norm, Outputs, Upstream, branch, branch_backward, check_weights, weights_like
from .forward import sep_second_launches

__all__ = ["sep_second", "sep_second_bwd", "sep_second_bwd_reference", "sep_second_reference"]

Forward: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # z2, mean2, var2, rstd2
Backward: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]  # as SecondGradients


def sep_second_reference(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor],
    eps: float, gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    """What `sep_second` computes, branch by branch: z2 [m, B, C, H, W], mean2, var2 and rstd2 [m, C].

    `z1[i]` is [B, C, H, W], `mean`, `scale`, `shift` [m, C], `dw[i]` [C, 1, k, k], `pw[i]` [C, C, 1, 1], `gate` [m].
    """
    out = Outputs(room(z1[0], len(z1), 1), *(torch.zeros_like(mean) for _ in range(3)))
    for i, on in enumerate(runs(gate, len(z1))):
        if on:
            z2 = branch(F.relu(_normed(z1[i], mean[i], scale[i], shift[i])), dw[i], pw[i], 1, 1)
            for room_, value in zip(out, (z2.to(out.z.dtype), *statistics(z2, eps)), strict=True):
                room_[i] = value
    return out


def sep_second_bwd_reference(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: Sequence[Tensor], pw: Sequence[Tensor], g: Sequence[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    """What `sep_second_bwd` computes, branch by branch: d1 [m, B, C, H, W], coef1 [m, 3, C], sum_d and sum_dz [m, C]
    and the gradients of `dw` and `pw`.

    `z1[i]` and `g[i]` are [B, C, H, W], `mean`, `scale`, `shift`, `rstd` [m, C], `dw[i]` [C, 1, k, k], `pw[i]`
    [C, C, 1, 1], `z2` [m, B, C, H, W], `coef` [m, 3, C], `gate` [m].
    """
    d1 = room(z1[0], len(z1), 1)
    sum_d, sum_dz = torch.zeros_like(mean), torch.zeros_like(mean)
    ddw, dpw = ([torch.zeros_like(w) for w in group] if weights else [] for group in (dw, pw))
    on = runs(gate, len(z1))
    for i in (i for i, runs_here in enumerate(on) if runs_here):
        v = _normed(z1[i], mean[i], scale[i], shift[i])
        a, b, c = (coef[i, j].view(-1, 1, 1) for j in range(3))
        du, one, other = branch_backward(F.relu(v), dw[i], pw[i], 1, 1, a * g[i] + b * z2[i] + c, weights)
        d = torch.where(v <= 0, torch.zeros_like(du), du)
        d1[i] = d.to(d1.dtype)
        sum_d[i], sum_dz[i] = d.sum((0, 2, 3)), (d * (z1[i] - mean[i].view(-1, 1, 1))).sum((0, 2, 3))
        if one is not None and other is not None:
            ddw[i], dpw[i] = one, other
    coef1 = norm_coefficients(scale, mean, rstd, sum_d, sum_dz, pixels(z1[0]))
    if gate is not None:
        coef1 = torch.where((gate != 0).view(-1, 1, 1), coef1, torch.zeros_like(coef1))
    return d1, coef1, sum_d, sum_dz, ddw, dpw


@operator
def sep_second(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: list[Tensor], pw: list[Tensor], eps: float,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(z2 [m, B, C, H, W], each channels-last, mean2 [m, C], var2 [m, C], rstd2 [m, C]).

    `z1` m tensors [B, C, H, W] float32 or bf16 (float64 on the CPU); `mean`, `scale`, `shift` [m, C], `dw[i]`
    [C, 1, k, k], `pw[i]` [C, C, 1, 1] float32 (float64); `gate` [m]. Raises SupernetError for anything else.
    """
    branches = _branches(dw, pw, gate)
    _check("sep_second", z1, [("mean", mean), ("scale", scale), ("shift", shift)], branches)
    z1, branches = [channels_last(x) for x in z1], branches.contiguous()
    mean, scale, shift = norm = (mean.contiguous(), scale.contiguous(), shift.contiguous())
    if z1[0].is_cuda:
        out = Outputs(room(z1[0], len(z1), 1), *(torch.zeros_like(mean) for _ in range(3)))
        launch(sep_second_launches(z1, norm, branches, eps, out), out.z.device)
        return out
    if host.serves(z1[0]):
        return cpu.sep_second(z1, norm, branches, eps)
    return sep_second_reference(z1, *norm, branches.dw, branches.pw, eps, branches.gate)


@operator
def sep_second_bwd(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: list[Tensor], pw: list[Tensor], g: list[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """(d1 [m, B, C, H, W], coef1 [m, 3, C], sum_d [m, C], sum_dz [m, C], ddw, dpw), the last two shaped as `dw` and
    `pw` and empty unless `weights`.

    `g` are m tensors [B, C, H, W], `z2` [m, B, C, H, W] is the forward's, `coef` [m, 3, C], `rstd` [m, C]; the other
    arguments are those of `sep_second`. Raises SupernetError for other shapes and types.
    """
    branches, norm = _branches(dw, pw, gate), Norm(mean, scale, shift, rstd)
    _check("sep_second_bwd", z1, list(zip(Norm._fields, norm, strict=True)), branches)
    named = [("z1[0]", z1[0]), ("z2[0]", z2[0]), *((f"g[{i}]", y) for i, y in enumerate(g))]
    check_activations("sep_second_bwd", named)
    check_small("sep_second_bwd", [("coef", coef)], (len(z1), 3, z1[0].shape[1]), z1[0])
    z1, norm, branches = [channels_last(x) for x in z1], norm.contiguous(), branches.contiguous()
    upstream = Upstream(g, z2, coef).in_order()
    if z2.is_cuda:
        out = _outputs(z1, mean, dw, pw, weights)
        launch(sep_second_bwd_launches(z1, norm, branches, upstream, SecondGradients(*out)), z2.device)
        return out
    if host.serves(z2):
        return cpu.sep_second_bwd(z1, norm, branches, upstream, weights)
    dw_, pw_, _, gate = branches
    return sep_second_bwd_reference(z1, *norm, dw_, pw_, *upstream, weights, gate)


@fake("sep_second")
def _(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: list[Tensor], pw: list[Tensor], eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    _check("sep_second", z1, [("mean", mean), ("scale", scale), ("shift", shift)], _branches(dw, pw, gate))
    mean2, var2, rstd2 = (torch.empty_like(mean) for _ in range(3))
    return room(z1[0], len(z1), 1), mean2, var2, rstd2


@fake("sep_second_bwd")
def _(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: list[Tensor], pw: list[Tensor], g: list[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    return _outputs(z1, mean, dw, pw, weights)


def _branches(dw: Sequence[Tensor], pw: Sequence[Tensor], gate: Tensor | None) -> Branches:
    return Branches(dw, pw, [1] * len(dw), gate)


def _outputs(z1: Sequence[Tensor], mean: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], weights: bool) -> Backward:
    m, c = mean.shape
    coef1, sum_d, sum_dz = (mean.new_empty(shape) for shape in ((m, 3, c), (m, c), (m, c)))
    return room(z1[0], m, 1), coef1, sum_d, sum_dz, *weights_like(dw, pw, weights)


class _Saved(Context, Protocol):
    """With what `sep_second` was called: m branches."""

    m: int


def _setup(ctx: _Saved, inputs: Inputs, output: Forward) -> None:
    z1, mean, scale, shift, dw, pw, _, gate = inputs
    z2, mean2, _, rstd2 = output
    ctx.m = len(z1)
    ctx.save_for_backward(mean, scale, shift, z2, mean2, rstd2, gate, *z1, *dw, *pw)


def _backward(
    ctx: _Saved, gz: Tensor | None, g_mean: Tensor | None, g_var: Tensor | None, g_rstd: Tensor | None
) -> tuple[object, ...]:
    mean, scale, shift, z2, mean2, rstd2, gate, *lists = ctx.saved_tensors
    z1, dw, pw = (lists[i * ctx.m : (i + 1) * ctx.m] for i in range(3))
    gz = torch.zeros_like(z2) if gz is None else gz
    coef = statistics_coefficients(mean2, rstd2, g_mean, g_var, g_rstd, pixels(z2[0]))
    weights = any(any(w) if isinstance(w, Sequence) else w for w in ctx.needs_input_grad[4:6])
    # The statistics of z1 are inputs of their own here: constants of the norm, so no rstd.
    constant = torch.zeros_like(scale)
    g = [y.to(z2.dtype) for y in gz]
    small = (mean, scale, shift, constant)
    d1, _, sum_d, sum_dz, ddw, dpw = sep_second_bwd(z1, *small, dw, pw, g, z2, coef, weights, gate)
    dz1 = [(d1[i] * scale[i].view(-1, 1, 1)).to(z2.dtype) for i in range(ctx.m)]
    nothing = [None] * ctx.m
    return dz1, -scale * sum_d, sum_dz, sum_d, ddw or nothing, dpw or nothing, None, None


differentiable("sep_second", _backward, _setup)
not_differentiable("sep_second_bwd")


def _normed(z1: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, scale, shift = (x.view(-1, 1, 1) for x in (mean, scale, shift))
    return (z1 - mean) * scale + shift


def _check(who: str, z1: Sequence[Tensor], small: Sequence[tuple[str, Tensor]], branches: Branches) -> None:
    check_activations(who, [(f"z1[{i}]", x) for i, x in enumerate(z1)])
    check_weights(who, z1[0], branches.dw, branches.pw)
    check_small(who, small, (len(branches.dw), z1[0].shape[1]), z1[0])
    check_gate(who, branches.gate, len(branches.dw), z1[0])
