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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
    norm_coefficients,
    packed,
    pixels,
    runs,
    stacked,
    statistics,
    statistics_coefficients,
)  # fmt: skip

__all__ = ["sep_second", "sep_second_bwd", "sep_second_bwd_reference", "sep_second_reference"]

Forward = tuple[Tensor, Tensor, Tensor, Tensor]
Backward = tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]


def sep_second_reference(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor],
    eps: float, gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    """What `sep_second` computes, branch by branch."""
    z2 = stacked(z1[0], len(z1), *z1[0].shape[-2:])
    small = [torch.zeros_like(mean) for _ in range(3)]
    for i, on in enumerate(runs(gate, len(z1))):
        if on:
            _, full = branch(F.relu(_normed(z1[i], mean[i], scale[i], shift[i])), dw[i], pw[i], 1, 1)
            z2[i] = full.to(z2.dtype)
            for kept, value in zip(small, statistics(full, eps), strict=True):
                kept[i] = value
    return z2, small[0], small[1], small[2]


def sep_second_bwd_reference(
    z1: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: Sequence[Tensor], pw: Sequence[Tensor], g: Sequence[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    """What `sep_second_bwd` computes, branch by branch."""
    d1 = stacked(z1[0], len(z1), *z1[0].shape[-2:])
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


@torch.library.custom_op("supernet::sep_second", mutates_args=())
def sep_second(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: list[Tensor], pw: list[Tensor], eps: float,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(z2 [m, B, C, H, W], each channels-last, mean2 [m, C], var2 [m, C], rstd2 [m, C]).

    `z1` m tensors [B, C, H, W] float32 or bf16 (float64 on the CPU); `mean`, `scale`, `shift` [m, C], `dw[i]`
    [C, 1, k, k], `pw[i]` [C, C, 1, 1] float32 (float64); `gate` [m]. Raises SupernetError for anything else.
    """
    _check("sep_second", z1, [("mean", mean), ("scale", scale), ("shift", shift)], dw, pw, gate)
    z1, dw, pw = [channels_last(x) for x in z1], [w.contiguous() for w in dw], [w.contiguous() for w in pw]
    gate = None if gate is None else gate.contiguous()
    mean, scale, shift = (x.contiguous() for x in (mean, scale, shift))
    if z1[0].is_cuda:
        from .separable_forward import sep_second_launches

        z2 = stacked(z1[0], len(z1), *z1[0].shape[-2:])
        mean2, var2, rstd2 = (torch.zeros_like(mean) for _ in range(3))
        launch(sep_second_launches(z1, mean, scale, shift, dw, pw, eps, gate, z2, mean2, var2, rstd2), z2.device)
        return z2, mean2, var2, rstd2
    if host.serves(z1[0]):
        return host.bodies().sep_second(z1, mean, scale, shift, dw, pw, eps, gate)
    return sep_second_reference(z1, mean, scale, shift, dw, pw, eps, gate)


@torch.library.custom_op("supernet::sep_second_bwd", mutates_args=())
def sep_second_bwd(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: list[Tensor], pw: list[Tensor], g: list[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """(d1 [m, B, C, H, W], coef1 [m, 3, C], sum_d [m, C], sum_dz [m, C], ddw, dpw); no ddw, dpw unless `weights`."""
    small = [("mean", mean), ("scale", scale), ("shift", shift), ("rstd", rstd)]
    _check("sep_second_bwd", z1, small, dw, pw, gate)
    named = [("z1[0]", z1[0]), ("z2[0]", z2[0]), *((f"g[{i}]", y) for i, y in enumerate(g))]
    check_activations("sep_second_bwd", named)
    check_small("sep_second_bwd", [("coef", coef)], (len(z1), 3, z1[0].shape[1]), z1[0])
    z1, g, z2 = [channels_last(x) for x in z1], [channels_last(y) for y in g], packed(z2)
    mean, scale, shift, rstd, coef = (x.contiguous() for x in (mean, scale, shift, rstd, coef))
    dw, pw = [w.contiguous() for w in dw], [w.contiguous() for w in pw]
    gate = None if gate is None else gate.contiguous()
    arguments = (z1, mean, scale, shift, rstd, dw, pw, g, z2, coef, weights, gate)
    if z2.is_cuda:
        from .separable_backward import sep_second_bwd_launches

        out = _outputs(z1, mean, dw, pw, weights)
        launch(sep_second_bwd_launches(*arguments, *out), z2.device)
        return out
    if host.serves(z2):
        return host.bodies().sep_second_bwd(*arguments)
    return sep_second_bwd_reference(*arguments)


@sep_second.register_fake
def _(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, dw: list[Tensor], pw: list[Tensor], eps: float,
    gate: Tensor | None = None,
) -> Forward:  # fmt: skip
    _check("sep_second", z1, [("mean", mean), ("scale", scale), ("shift", shift)], dw, pw, gate)
    mean2, var2, rstd2 = (torch.empty_like(mean) for _ in range(3))
    return stacked(z1[0], len(z1), *z1[0].shape[-2:]), mean2, var2, rstd2


@sep_second_bwd.register_fake
def _(
    z1: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor,
    dw: list[Tensor], pw: list[Tensor], g: list[Tensor], z2: Tensor, coef: Tensor, weights: bool,
    gate: Tensor | None = None,
) -> Backward:  # fmt: skip
    return _outputs(z1, mean, dw, pw, weights)


def _outputs(z1: Sequence[Tensor], mean: Tensor, dw: Sequence[Tensor], pw: Sequence[Tensor], weights: bool) -> Backward:
    m, c = mean.shape
    ddw, dpw = ([w.new_empty(w.shape) for w in group] if weights else [] for group in (dw, pw))
    coef1, sum_d, sum_dz = (mean.new_empty(shape) for shape in ((m, 3, c), (m, c), (m, c)))
    return stacked(z1[0], m, *z1[0].shape[-2:]), coef1, sum_d, sum_dz, ddw, dpw


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    z1, mean, scale, shift, dw, pw, _, gate = inputs
    z2, mean2, _, rstd2 = output
    ctx.m = len(z1)
    ctx.save_for_backward(mean, scale, shift, z2, mean2, rstd2, gate, *z1, *dw, *pw)


def _backward(ctx: Any, gz: Tensor | None, g_mean: Any, g_var: Any, g_rstd: Any) -> tuple[Any, ...]:
    mean, scale, shift, z2, mean2, rstd2, gate, *lists = ctx.saved_tensors
    z1, dw, pw = (lists[i * ctx.m : (i + 1) * ctx.m] for i in range(3))
    gz = torch.zeros_like(z2) if gz is None else gz
    coef = statistics_coefficients(mean2, rstd2, g_mean, g_var, g_rstd, pixels(z2[0]))
    wanted = ctx.needs_input_grad[4:6]
    weights = any(any(w) if isinstance(w, Sequence) else w for w in wanted)
    # The statistics of z1 are inputs of their own here: constants of the norm, so no rstd.
    constant = torch.zeros_like(scale)
    g = [y.to(z2.dtype) for y in gz]
    small = (mean, scale, shift, constant)
    d1, _, sum_d, sum_dz, ddw, dpw = sep_second_bwd(z1, *small, dw, pw, g, z2, coef, weights, gate)
    dz1 = [(d1[i] * scale[i].view(-1, 1, 1)).to(z2.dtype) for i in range(ctx.m)]
    nothing = [None] * ctx.m
    return dz1, -scale * sum_d, sum_dz, sum_d, ddw or nothing, dpw or nothing, None, None


sep_second.register_autograd(_backward, setup_context=_setup)


def _normed(z1: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, scale, shift = (x.view(-1, 1, 1) for x in (mean, scale, shift))
    return (z1 - mean) * scale + shift


def _check(
    who: str, z1: Sequence[Tensor], small: Sequence[tuple[str, Tensor]], dw: Sequence[Tensor], pw: Sequence[Tensor],
    gate: Tensor | None,
) -> None:  # fmt: skip
    check_activations(who, [(f"z1[{i}]", x) for i, x in enumerate(z1)])
    check_weights(who, z1[0], dw, pw)
    check_small(who, small, (len(dw), z1[0].shape[1]), z1[0])
    check_gate(who, gate, len(dw), z1[0])
