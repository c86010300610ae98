"""A separable convolution of a discrete network over the fused operators, batch norms included.

    z1 = pointwise(depthwise(relu(x)))                        edge_group, with the statistics of z1
    z2 = pointwise(depthwise(relu(norm1(z1))))                sep_second, which normalises where it reads
    y  = norm2(z2)                                            node_mix of one term

dil_conv ends at norm1(z1). It is one function of autograd, which keeps x, z1 and z2, where stock modules keep what each
layer reads. Weights and running statistics stay those of the modules. For training: norms that do not take the batch's
statistics run as modules.
"""
# B batch, C channels, H height, W width

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..cuda_kernels import host
from ..cuda_kernels.node_mix.mix import node_mix, node_mix_bwd_reduce
from ..cuda_kernels.operators import Context
from ..cuda_kernels.separable.edge_group import edge_group, edge_group_bwd
from ..cuda_kernels.separable.sep_second import sep_second, sep_second_bwd
from .cells.cell import run_plain
from .executor.layout import Half, separable_halves
from .executor.norms import Advance, uses_batch
from .uncompiled import uncompiled

__all__ = ["halves_of", "run_fused"]


@uncompiled
def run_fused(op: nn.Module, halves: Sequence[Half], x: Tensor) -> Tensor:
    """`op(x)` for `x` [B, C, H, W], where `halves` are those of `op`."""
    stride = halves[0].depthwise.stride[0]
    pixels = x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride)
    if pixels < 2 or not all(uses_batch(half.norm) for half in halves):
        return run_plain(op, x)  # of one pixel a batch norm takes no variance, and says so
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    form = _Form(stride, halves[0].depthwise.dilation[0], tuple(half.norm.eps for half in halves))
    weights = [w for half in halves for w in _weights(half)]
    y: Tensor
    y, *statistics = _Separable.apply(form, x, *weights)
    advance = Advance()
    for half, mean, var in zip(halves, statistics[::2], statistics[1::2], strict=True):
        advance.add([half.norm], mean, var, pixels)
    with torch.no_grad():
        advance.apply()
    return y


def halves_of(op: nn.Module) -> list[Half]:
    """The halves of a separable convolution that the operators serve; empty for every other operation."""
    first = next((layer for layer in op.children() if isinstance(layer, nn.Conv2d)), None)
    return [] if first is None else separable_halves(op, first.stride[0])


def _weights(half: Half) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    return half.depthwise.weight, half.pointwise.weight, half.norm.weight, half.norm.bias


class _Form(NamedTuple):
    """What is no tensor."""

    stride: int
    dilation: int
    eps: tuple[float, ...]  # of one norm or two


class _Norm(NamedTuple):
    """(z - mean) * scale + shift; each [1, C]."""

    mean: Tensor
    scale: Tensor
    shift: Tensor
    rstd: Tensor


def _norm(mean: Tensor, rstd: Tensor, gamma: Tensor | None, beta: Tensor | None) -> _Norm:
    scale = rstd if gamma is None else rstd * gamma
    return _Norm(mean, scale, torch.zeros_like(mean) if beta is None else beta.expand_as(mean), rstd)


def _bodies(x: Tensor) -> AbstractContextManager[object]:
    """The compiled bodies on the processor, where there are any: as in the forward pass, so in the backward."""
    served = x.device.type == "cpu" and x.dtype == torch.float32
    return host.compiled() if served and host.available() else nullcontext()


class _Saved(Context, Protocol):
    """What the forward pass leaves for the backward."""

    form: _Form

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _Separable(torch.autograd.Function):
    """(y, mean1, var1, mean2, var2), of which y alone has a gradient; it cannot be differentiated twice."""

    @staticmethod
    def forward(ctx: _Saved, form: _Form, x: Tensor, *weights: Tensor | None) -> tuple[Tensor, ...]:
        ctx.form = form
        dw, pw = _convolutions(weights)
        with _bodies(x):
            z, mean, var, rstd = edge_group(x, dw[:1], pw[:1], [form.dilation], form.stride, form.eps[0])
            statistics, saved = [mean, var], [z, mean, rstd]
            norm = _norm(mean, rstd, weights[2], weights[3])
            if len(dw) > 1:
                z, mean, var, rstd = sep_second([z[0]], *norm[:3], dw[1:], pw[1:], form.eps[1])
                statistics, saved = [*statistics, mean, var], [*saved, z, mean, rstd]
                norm = _norm(mean, rstd, weights[6], weights[7])
            y = node_mix([z[0]], *norm[:3], mean.new_ones(1))
        ctx.save_for_backward(x, *saved, *weights)
        ctx.mark_non_differentiable(*statistics)
        return y, *statistics

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Saved, g: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        form, n = ctx.form, len(ctx.form.eps)
        x, *saved = ctx.saved_tensors
        halves, weights = [saved[3 * i : 3 * i + 3] for i in range(n)], saved[3 * n :]  # z, mean, rstd of each half
        dw, pw = _convolutions(weights)
        norms = [_norm(halves[i][1], halves[i][2], weights[4 * i + 2], weights[4 * i + 3]) for i in range(n)]
        learns = any(ctx.needs_input_grad[2:])
        z, last = halves[-1][0], norms[-1]
        with _bodies(x):
            _dp, sum_g, sum_gz, coef = node_mix_bwd_reduce(g, [z[0]], *last, last.mean.new_ones(1))
            affine = [(last.rstd[0] * sum_gz[0], sum_g)]
            upstream, grads = g, []
            if n > 1:
                d, coef, sum_d, sum_dz, ddw, dpw = sep_second_bwd(
                    [halves[0][0][0]], *norms[0], dw[1:], pw[1:], [g], z, coef, learns
                )
                affine.insert(0, (norms[0].rstd[0] * sum_dz[0], sum_d[0]))
                upstream, grads, z = d[0], [*ddw, *dpw], halves[0][0]
            dx, ddw, dpw = edge_group_bwd(
                x, dw[:1], pw[:1], [form.dilation], form.stride, [upstream], z, coef, None, learns
            )
        of_weights: list[Tensor | None] = []
        for pair, (gamma, beta) in zip(([*ddw, *dpw], grads), affine, strict=False):
            of_weights += [*(pair or (None, None)), gamma, beta]
        needed = ctx.needs_input_grad[1:]
        return None, *(grad if needs else None for grad, needs in zip((dx, *of_weights), needed, strict=True))


def _convolutions(weights: Sequence[Tensor | None]) -> tuple[list[Tensor], list[Tensor]]:
    """The depthwise and the pointwise weights of all halves."""
    return [w for w in weights[0::4] if w is not None], [w for w in weights[1::4] if w is not None]
