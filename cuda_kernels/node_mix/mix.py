"""The node of a mixed cell in one pass: normalise, weigh, add over operations and edges.

    out = sum_t p[t] * ((z[t] - mean[t]) * scale[t] + shift[t])        per channel

and, for its backward, in one read of the upstream gradient g and of the terms:

    sum_g[c] = sum g        sum_gz[t, c] = sum g * (z[t] - mean[t])
    dp[t] = sum_c scale[t, c] * sum_gz[t, c] + shift[t, c] * sum_g[c]
    dz[t] = coef[t, 0] * g + coef[t, 1] * z[t] + coef[t, 2]        with what goes through mean and variance, where
    coef[t, 0] = p[t] * scale[t]                coef[t, 1] = -coef[t, 0] * rstd[t]^2 * sum_gz[t] / N
    coef[t, 2] = -coef[t, 0] * sum_g / N - coef[t, 1] * mean[t]

which is batch norm's backward. Where rstd is 0 the statistics are constants, as in evaluation: the last two are
0. A term without norm takes mean 0, scale 1, shift 0, rstd 0. A term whose gate is 0 does not run: neither it
nor its factors are read, and its dp, sum_gz and coef are 0. Sums are float32, without atomics, in an order that
shapes and alignment fix: the same bits every run. `mean` stands alone and is not folded into `shift`: folded, large
means would cost digits.

Every operator is a `torch.library` operator with a CPU body of stock operations, a compiled one (cpu.py) and the
kernels of node_mix.cu. The gradient of `node_mix` itself takes mean, scale and shift as independent of z, and does
without `coef`. It cannot be differentiated twice.
"""
# B batch, C channels, H height, W width, T terms of one node, N = B * H * W pixels

import ctypes
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ...errors import SupernetError
from .. import host
from ..addresses import pointer, table
from ..gpu.geometry import geometry
from ..gpu.kernel import Kernel
from ..gpu.launch import Launch, launch
from ..normalisation import norm_coefficients
from ..operators import Context, Inputs, differentiable, fake, not_differentiable, operator
from ..tensors import (
    STORAGE,
    channels_last,
    check_activations,
    check_gate,
    check_small,
    contiguous,
    pixels,
    runs,
)
from . import cpu

__all__ = ["node_mix", "node_mix_bwd_reduce", "node_mix_reference", "node_mix_reference_sums"]

MOST_TERMS = 64  # the factors of 64 terms and 64 channels are 32 KB of a block's 48 KB of shared memory
PARTIALS = 256  # blocks, and so partial sums, of a reduction at most: two for each of a large GPU's multiprocessors
BLOCKS = 1024  # of the forward at most, which then go on to further pixels: factors are loaded once a block
SOURCE = "node_mix/node_mix.cu"

Sums: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # dp, sum_g, sum_gz, coef


def node_mix_reference(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None = None
) -> Tensor:
    """What `node_mix` computes, term by term; differentiable as often as one likes.

    The node [B, C, H, W] of T tensors `z` [B, C, H, W]; `mean`, `scale`, `shift` are [T, C], `p` and `gate` [T].
    """
    view, total = (-1, 1, 1), torch.zeros_like(z[0])
    for t, on in enumerate(runs(gate, len(z))):
        if on:
            total = total + p[t] * ((z[t] - mean[t].view(view)) * scale[t].view(view) + shift[t].view(view))
    return total


def node_mix_reference_sums(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None = None,
) -> Sums:  # fmt: skip
    """What `node_mix_bwd_reduce` computes, term by term: dp [T], sum_g [C], sum_gz [T, C], coef [T, 3, C].

    `g` and each of `z` are [B, C, H, W], `mean`, `scale`, `shift`, `rstd` [T, C], `p` and `gate` [T].
    """
    sum_g, count = g.sum((0, 2, 3)), pixels(g)
    dp, sum_gz, coef = torch.zeros_like(p), torch.zeros_like(mean), mean.new_zeros((len(z), 3, g.shape[1]))
    for t, on in enumerate(runs(gate, len(z))):
        if on:
            sum_gz[t] = (g * (z[t] - mean[t].view(-1, 1, 1))).sum((0, 2, 3))
            dp[t] = (scale[t] * sum_gz[t] + shift[t] * sum_g).sum()
            coef[t] = norm_coefficients(p[t] * scale[t], mean[t], rstd[t], sum_g, sum_gz[t], count)
    return dp, sum_g, sum_gz, coef


@operator
def node_mix(
    z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None = None
) -> Tensor:
    """The node [B, C, H, W], channels-last, of terms `z`: T tensors [B, C, H, W] of one dtype.

    `mean`, `scale`, `shift` are [T, C], `p` and `gate` [T], all float32 (float64 for terms of float64, on the CPU).
    Terms that are not channels-last are copied. Raises SupernetError for other shapes, dtypes, and over 64 terms.
    """
    _check(z, {"mean": mean, "scale": scale, "shift": shift}, p, gate)
    z = [channels_last(x) for x in z]
    mean, scale, shift, p = (x.contiguous() for x in (mean, scale, shift, p))
    gate = contiguous(gate)
    if z[0].is_cuda:
        out = torch.empty_like(z[0], memory_format=torch.channels_last)
        launch(forward_launches(z, mean, scale, shift, p, gate, out), out.device)
        return out
    if host.serves(z[0]):
        return cpu.node_mix(z, mean, scale, shift, p, gate)
    return _forward_cpu(z, mean, scale, shift, p, gate)


@operator
def node_mix_bwd_reduce(
    g: Tensor, z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(dp [T], sum_g [C], sum_gz [T, C], coef [T, 3, C]) of the upstream gradient `g` [B, C, H, W].

    `rstd` [T, C] is 0 where the statistics are constants; the other arguments are those of `node_mix`.
    """
    _check(z, {"mean": mean, "scale": scale, "shift": shift, "rstd": rstd}, p, gate)
    check_activations("node_mix_bwd_reduce", [("term 0", z[0]), ("the gradient", g)])
    g, z = channels_last(g), [channels_last(x) for x in z]
    mean, scale, shift, rstd, p = (x.contiguous() for x in (mean, scale, shift, rstd, p))
    gate = contiguous(gate)
    if g.is_cuda and g.numel():
        out = _sums(z, mean)
        launch(reduce_launches(g, z, mean, scale, shift, rstd, p, gate, *out), g.device)
        return out
    if g.numel() and host.serves(g):
        return cpu.node_mix_bwd_reduce(g, z, mean, scale, shift, rstd, p, gate)
    return _reduce_stock(g, z, mean, scale, shift, rstd, p, gate)


@fake("node_mix")
def _(z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None = None) -> Tensor:
    _check(z, {"mean": mean, "scale": scale, "shift": shift}, p, gate)
    return torch.empty_like(z[0], memory_format=torch.channels_last)


@fake("node_mix_bwd_reduce")
def _(
    g: Tensor, z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None = None,
) -> Sums:  # fmt: skip
    _check(z, {"mean": mean, "scale": scale, "shift": shift, "rstd": rstd}, p, gate)
    check_activations("node_mix_bwd_reduce", [("term 0", z[0]), ("the gradient", g)])
    return _sums(z, mean)


def _sums(z: Sequence[Tensor], like: Tensor) -> Sums:
    terms, channels = len(z), z[0].shape[1]
    shapes = ((terms,), (channels,), (terms, channels), (terms, 3, channels))
    dp, sum_g, sum_gz, coef = (like.new_empty(shape) for shape in shapes)
    return dp, sum_g, sum_gz, coef


def _setup(ctx: Context, inputs: Inputs, output: Tensor) -> None:
    z, *small = inputs
    ctx.save_for_backward(*small, *z)


def _backward(ctx: Context, g: Tensor) -> tuple[object, ...]:
    mean, scale, shift, p, gate, *z = ctx.saved_tensors
    needs_z, *needs = ctx.needs_input_grad
    dz: list[Tensor | None] = [None] * len(z)
    factor = gated(p[:, None] * scale, gate)
    for t, needed in enumerate(needs_z if isinstance(needs_z, Sequence) else [needs_z] * len(z)):
        if needed:
            dz[t] = (g * factor[t].view(-1, 1, 1)).to(z[t].dtype)
    if not any(needs[:4]):
        return dz, None, None, None, None, None
    dp, sum_g, sum_gz, _ = node_mix_bwd_reduce(g, z, mean, scale, shift, torch.zeros_like(mean), p, gate)
    dscale, dshift = (gated(p[:, None] * x, gate) for x in (sum_gz, sum_g.expand_as(shift)))
    return dz, -factor * sum_g, dscale, dshift, dp, None


differentiable("node_mix", _backward, _setup)
not_differentiable("node_mix_bwd_reduce")


def gated(x: Tensor, gate: Tensor | None) -> Tensor:
    """`x` [T, C], with zeros for the terms that do not run."""
    return x if gate is None else torch.where((gate == 0)[:, None], torch.zeros_like(x), x)


def _check(z: Sequence[Tensor], named: dict[str, Tensor], p: Tensor, gate: Tensor | None) -> None:
    if not 1 <= len(z) <= MOST_TERMS:
        raise SupernetError(f"node_mix of {len(z)} terms: 1 to {MOST_TERMS} are allowed; add more in a second call")
    check_activations("node_mix", [(f"term {t}", x) for t, x in enumerate(z)])
    check_small("node_mix", list(named.items()), (len(z), z[0].shape[1]), z[0])
    check_small("node_mix", [("p", p)], (len(z),), z[0])
    check_gate("node_mix", gate, len(z), z[0])


def forward_launches(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None, out: Tensor
) -> list[Launch]:
    """The kernel that writes `out` [B, C, H, W], channels-last as the terms; arguments as of `node_mix`."""
    channels = out.shape[1]
    if not out.numel():
        return []
    g = geometry(channels, [*z, out])
    kernel = Kernel(SOURCE, f"node_mix_fwd<{STORAGE[out.dtype]}, {len(z)}, {channels}, {g.vector}{_form(gate)}>")
    blocks = min(-(-pixels(out) // (2 * g.rows)), BLOCKS)  # 2: PIXELS of node_mix.cu
    arguments = (table(z), *map(pointer, (mean, scale, shift, p)), pointer(gate), pointer(out), _count(out))
    return [Launch(kernel, (blocks, g.tiles, 1), arguments)]


def reduce_launches(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None, dp: Tensor, sum_g: Tensor, sum_gz: Tensor, coef: Tensor,
) -> list[Launch]:  # fmt: skip
    """The two passes of the sums, with room for what the blocks of the first hand to the second.

    Arguments as of `node_mix_bwd_reduce`, then what it returns:
    `dp` [T], `sum_g` [C], `sum_gz` [T, C], `coef` [T, 3, C].
    """
    terms, channels = len(z), g.shape[1]
    form = geometry(channels, [g, *z])
    blocks = min(-(-pixels(g) // form.rows), PARTIALS)
    partial = mean.new_empty((blocks, terms + 1, channels))
    sizes = f"{STORAGE[g.dtype]}, {terms}, {channels}, {form.vector}"
    first = Kernel(SOURCE, f"node_mix_bwd_reduce<{sizes}{_form(gate)}>")
    second = Kernel(SOURCE, f"node_mix_bwd_finish<{terms}, {channels}>")
    arguments = (pointer(g), table(z), pointer(mean), pointer(gate), pointer(partial), _count(g))
    small = (*map(pointer, (mean, scale, shift, rstd, p)), pointer(gate))
    finish = (pointer(partial), ctypes.c_int(blocks), *small, _count(g), *map(pointer, (dp, sum_g, sum_gz, coef)))
    return [
        Launch(first, (blocks, form.tiles, 1), arguments, holds=(partial,)),
        Launch(second, (terms, 1, 1), finish, holds=(partial,)),
    ]


def _form(gate: Tensor | None) -> str:
    return "" if gate is None else ", true"


def _count(x: Tensor) -> ctypes.c_longlong:
    return ctypes.c_longlong(pixels(x))


def _forward_cpu(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, gate: Tensor | None
) -> Tensor:
    on = [t for t, runs_ in enumerate(runs(gate, len(z))) if runs_]
    total = (p[on] @ shift[on]).view(-1, 1, 1).expand(z[0].shape).contiguous(memory_format=torch.channels_last)
    factor = p[:, None] * scale
    for t in on:
        total.addcmul_(z[t].to(total.dtype) - mean[t].view(-1, 1, 1), factor[t].view(-1, 1, 1))
    return total.to(z[0].dtype)


def _reduce_stock(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor,
    gate: Tensor | None,
) -> Sums:  # fmt: skip
    if not g.numel():
        dp, sum_g, sum_gz, coef = (x.zero_() for x in _sums(z, mean))
        return dp, sum_g, sum_gz, coef
    wide = [x.to(mean.dtype) for x in z]
    return node_mix_reference_sums(g.to(mean.dtype), wide, mean, scale, shift, rstd, p, gate)
