"""The node of a cell with partial channels (PC-DARTS, arXiv:1907.05737): mix, bypass and channel shuffle in one pass.

Of C channels the first C / k went through the operations; the others pass by. With q = 0 .. C / k - 1:

    out[q k]     = sum_t p[t] * ((z[t][q] - mean[t, q]) * scale[t, q] + shift[t, q])
    out[q k + j] = sum_e beta[e] * bypass[e][j C / k + q]                                    j = 1 .. k - 1

The shuffle lies in the addresses that are written, so nothing is concatenated and nothing copied. Backwards `unshuffle`
gives what the mixed channels take, in one piece for `node_mix_bwd_reduce`, and what the bypass takes.
"""
# B batch, C channels, H height, W width, T terms, E bypasses, k parts of the channels

import ctypes
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...errors import SupernetError
from .. import host
from ..addresses import pointer, table
from ..gpu.geometry import geometry
from ..gpu.kernel import Kernel
from ..gpu.launch import Launch, launch
from ..operators import Context, Inputs, differentiable, fake, operator
from ..tensors import STORAGE, channels_last, check_activations, check_small, pixels
from . import cpu
from .mix import MOST_TERMS, SOURCE, node_mix_bwd_reduce, node_mix_reference

__all__ = ["node_mix_shuffled", "node_mix_shuffled_reference", "shuffle", "unshuffle"]

MOST_PARTS = 32  # a thread holds the sums of k channels at least
SUMS = 32  # of a thread at most
BLOCKS = 1024  # at most, which then go on to further pixels


def node_mix_shuffled_reference(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor,
    bypass: Sequence[Tensor], beta: Tensor, k: int,
) -> Tensor:  # fmt: skip
    """What `node_mix_shuffled` computes, term by term; differentiable as often as one likes.

    The node [B, C, H, W] of T tensors `z` [B, C / k, H, W], with `mean`, `scale`, `shift` [T, C / k] and `p` [T], and
    of E tensors `bypass` [B, C, H, W], with `beta` [E].
    """
    return shuffle(node_mix_reference(z, mean, scale, shift, p), bypass, beta, k)


def shuffle(mixed: Tensor, bypass: Sequence[Tensor], beta: Tensor, k: int) -> Tensor:
    """The node [B, C, H, W], channels-last, of what was mixed [B, C / k, H, W], of E tensors `bypass` [B, C, H, W] and
    their weights `beta` [E]."""
    part = mixed.shape[1]
    passed = sum((beta[e] * x[:, part:] for e, x in enumerate(bypass)), torch.zeros_like(bypass[0][:, part:]))
    both = torch.cat([mixed, passed], 1).permute(0, 2, 3, 1)
    return both.unflatten(-1, (k, part)).transpose(-1, -2).flatten(-2).permute(0, 3, 1, 2)


def unshuffle(g: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(what the mixed channels take [B, C / k, H, W], what the bypass takes [B, C - C / k, H, W]) of `g` [B, C, H, W].

    Both are channels-last and packed; the second is in the order of the bypass's own channels C / k and above.
    """
    parts = g.unflatten(1, (-1, k))
    rest = parts[:, :, 1:].transpose(1, 2).flatten(1, 2)
    return channels_last(parts[:, :, 0]), channels_last(rest)


@operator
def node_mix_shuffled(
    z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, bypass: list[Tensor], beta: Tensor, k: int
) -> Tensor:
    """The node [B, C, H, W], channels-last; C is k times the channels of the terms `z`.

    `z`, `mean`, `scale`, `shift`, `p` are those of `node_mix`; `bypass` are E tensors [B, C, H, W], `beta` [E]. Raises
    SupernetError for other shapes and dtypes, for a k outside 2 to 32 and for over 64 terms or bypasses.
    """
    _check(z, mean, scale, shift, p, bypass, beta, k)
    z, bypass = [channels_last(x) for x in z], [channels_last(x) for x in bypass]
    mean, scale, shift, p, beta = (x.contiguous() for x in (mean, scale, shift, p, beta))
    if z[0].is_cuda:
        out = torch.empty_like(bypass[0], memory_format=torch.channels_last)
        launch(shuffled_launches(z, mean, scale, shift, p, bypass, beta, k, out), out.device)
        return out
    if host.serves(z[0]):
        return shuffle(cpu.node_mix(z, mean, scale, shift, p), bypass, beta, k)
    wide = [[x.to(mean.dtype) for x in group] for group in (z, bypass)]
    return channels_last(node_mix_shuffled_reference(wide[0], mean, scale, shift, p, wide[1], beta, k).to(z[0].dtype))


@fake("node_mix_shuffled")
def _(
    z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, bypass: list[Tensor], beta: Tensor, k: int
) -> Tensor:
    _check(z, mean, scale, shift, p, bypass, beta, k)
    return torch.empty_like(bypass[0], memory_format=torch.channels_last)


class _Saved(Context, Protocol):
    """How many terms, and parts of the channels, `node_mix_shuffled` was called with."""

    terms: int
    k: int


def _setup(ctx: _Saved, inputs: Inputs, output: Tensor) -> None:
    z, mean, scale, shift, p, bypass, beta, ctx.k = inputs
    ctx.terms = len(z)
    ctx.save_for_backward(mean, scale, shift, p, beta, *z, *bypass)


def _backward(ctx: _Saved, g: Tensor) -> tuple[object, ...]:
    mean, scale, shift, p, beta, *both = ctx.saved_tensors
    z, bypass = both[: ctx.terms], both[ctx.terms :]
    g, rest = unshuffle(g, ctx.k)
    dp, sum_g, sum_gz, _ = node_mix_bwd_reduce(g, z, mean, scale, shift, torch.zeros_like(mean), p)
    factor = p[:, None] * scale
    dz = [(g * factor[t].view(-1, 1, 1)).to(x.dtype) for t, x in enumerate(z)]
    part, wide = g.shape[1], rest.to(beta.dtype)
    dbeta = torch.stack([(wide * x[:, part:]).sum() for x in bypass])
    dpassed = [torch.cat([torch.zeros_like(g), (wide * beta[e]).to(g.dtype)], 1) for e in range(len(bypass))]
    dshift = (p[:, None] * sum_g).expand_as(shift)
    return dz, -factor * sum_g, p[:, None] * sum_gz, dshift, dp, dpassed, dbeta, None


differentiable("node_mix_shuffled", _backward, _setup)


def _check(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor,
    bypass: Sequence[Tensor], beta: Tensor, k: int,
) -> None:  # fmt: skip
    if not (1 <= len(z) <= MOST_TERMS and 1 <= len(bypass) <= MOST_TERMS and 2 <= k <= MOST_PARTS):
        actual = f"{len(z)} terms, {len(bypass)} bypasses, k={k}"
        raise SupernetError(
            f"node_mix_shuffled of {actual}: allowed are 1 to {MOST_TERMS} each, k of 2 to {MOST_PARTS}"
        )
    check_activations("node_mix_shuffled", [(f"term {t}", x) for t, x in enumerate(z)])
    check_activations("node_mix_shuffled", [(f"bypass {e}", x) for e, x in enumerate(bypass)])
    batch, part, *size = z[0].shape
    if tuple(bypass[0].shape) != (batch, k * part, *size) or bypass[0].dtype != z[0].dtype:
        actual, right = f"{bypass[0].dtype} {tuple(bypass[0].shape)}", f"{z[0].dtype} {(batch, k * part, *size)}"
        raise SupernetError(f"node_mix_shuffled: bypass is {actual}, not {right}: k={k} times the terms' channels")
    check_small("node_mix_shuffled", [("mean", mean), ("scale", scale), ("shift", shift)], (len(z), part), z[0])
    check_small("node_mix_shuffled", [("p", p)], (len(z),), z[0])
    check_small("node_mix_shuffled", [("beta", beta)], (len(bypass),), z[0])


def shuffled_launches(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor,
    bypass: Sequence[Tensor], beta: Tensor, k: int, out: Tensor,
) -> list[Launch]:  # fmt: skip
    """The kernel that writes `out` [B, C, H, W]; arguments as of `node_mix_shuffled`, all channels-last."""
    if not out.numel():
        return []
    part = z[0].shape[1]
    g = geometry(part, [*z, *bypass, out], most=max(SUMS // k, 1))
    sizes = f"{STORAGE[out.dtype]}, {len(z)}, {len(bypass)}, {part}, {k}, {g.vector}"
    blocks = min(-(-pixels(out) // g.rows), BLOCKS)
    arguments = (table(z), *map(pointer, (mean, scale, shift, p)), table(bypass), pointer(beta), pointer(out))
    count = ctypes.c_longlong(pixels(out))
    return [Launch(Kernel(SOURCE, f"node_mix_shuffled<{sizes}>"), (blocks, g.tiles, 1), (*arguments, count))]
