"""The node of a mixed cell in one pass: normalise, weigh, add over operations and edges.

    out = sum_t p[t] * ((z[t] - mean[t]) * scale[t] + shift[t])        per channel

and, for its backward, in one read of the upstream gradient g and of the terms:

    sum_g[c] = sum g        sum_gz[t, c] = sum g * (z[t] - mean[t])
    dp[t] = sum_c scale[t, c] * sum_gz[t, c] + shift[t, c] * sum_g[c]

which are the sums of batch norm's backward too: with scale = 1 / std, sum(g * zhat) is scale * sum_gz. A term that has
no norm takes mean 0, scale 1, shift 0. Sums are float32, without atomics, in an order that shapes and alignment fix:
the same bits every run. `mean` stands alone and is not folded into `shift`: folded, large means would cost digits.

Every operator is a `torch.library` operator with a CPU body of stock operations and the kernels of node_mix.cu. The
gradient of `node_mix` takes mean, scale and shift as independent of z. It cannot be differentiated twice.
"""
# B batch, C channels, H height, W width, T terms of one node, N = B * H * W pixels

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from supernet.errors import SupernetError

from .geometry import geometry
from .launch import Kernel, Launch, launch, pointer, table

__all__ = ["node_mix", "node_mix_bwd_reduce", "node_mix_reference", "node_mix_reference_sums"]

MOST_TERMS = 64  # the factors of 64 terms and 64 channels are 32 KB of a block's 48 KB of shared memory
PARTIALS = 256  # blocks, and so partial sums, of a reduction at most: two for each of a large GPU's multiprocessors
BLOCKS = 1024  # of the forward at most, which then go on to further pixels: factors are loaded once a block
STORAGE = {torch.float32: "float", torch.bfloat16: "bf16"}
SOURCE = "node_mix.cu"


def node_mix_reference(z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor) -> Tensor:
    """What `node_mix` computes, term by term; differentiable as often as wanted."""
    view = (-1, 1, 1)
    terms = [p[t] * ((x - mean[t].view(view)) * scale[t].view(view) + shift[t].view(view)) for t, x in enumerate(z)]
    return sum(terms[1:], terms[0])


def node_mix_reference_sums(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What `node_mix_bwd_reduce` computes, term by term: dp [T], sum_g [C], sum_gz [T, C]."""
    sum_g = g.sum((0, 2, 3))
    sum_gz = torch.stack([(g * (x - mean[t].view(-1, 1, 1))).sum((0, 2, 3)) for t, x in enumerate(z)])
    return (scale * sum_gz + shift * sum_g).sum(1), sum_g, sum_gz


@torch.library.custom_op("supernet::node_mix", mutates_args=())
def node_mix(z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor) -> Tensor:
    """The node [B, C, H, W], channels-last, of terms `z`: T tensors [B, C, H, W] of one dtype.

    `mean`, `scale`, `shift` are [T, C], `p` is [T], all float32 (float64 for terms of float64, on the CPU only). Terms
    that are not channels-last are copied. Raises SupernetError for other shapes and dtypes, and for over 64 terms.
    """
    _check(z, mean, scale, shift, p)
    z = [_channels_last(x) for x in z]
    mean, scale, shift, p = (x.contiguous() for x in (mean, scale, shift, p))
    out = torch.empty_like(z[0], memory_format=torch.channels_last)
    if out.is_cuda:
        launch(forward_launches(z, mean, scale, shift, p, out), out.device)
    else:
        _forward_cpu(z, mean, scale, shift, p, out)
    return out


@torch.library.custom_op("supernet::node_mix_bwd_reduce", mutates_args=())
def node_mix_bwd_reduce(
    g: Tensor, z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dp [T], sum_g [C], sum_gz [T, C]) of the upstream gradient `g`; the arguments are those of `node_mix`."""
    _check(z, mean, scale, shift, None)
    _same("the gradient", g, z[0])
    g, z = _channels_last(g), [_channels_last(x) for x in z]
    mean, scale, shift = (x.contiguous() for x in (mean, scale, shift))
    dp, sum_g, sum_gz = _sums(z, mean)
    if not g.numel():
        return dp.zero_(), sum_g.zero_(), sum_gz.zero_()
    if g.is_cuda:
        partial = mean.new_empty((_partials(g, z), len(z) + 1, g.shape[1]))
        launch(reduce_launches(g, z, mean, scale, shift, partial, dp, sum_g, sum_gz), g.device)
    else:
        _reduce_cpu(g, z, mean, scale, shift, dp, sum_g, sum_gz)
    return dp, sum_g, sum_gz


@node_mix.register_fake
def _(z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor) -> Tensor:
    _check(z, mean, scale, shift, p)
    return torch.empty_like(z[0], memory_format=torch.channels_last)


@node_mix_bwd_reduce.register_fake
def _(g: Tensor, z: list[Tensor], mean: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check(z, mean, scale, shift, None)
    _same("the gradient", g, z[0])
    return _sums(z, mean)


def _sums(z: Sequence[Tensor], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    terms, channels = len(z), z[0].shape[1]
    return like.new_empty((terms,)), like.new_empty((channels,)), like.new_empty((terms, channels))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    z, *small = inputs
    ctx.save_for_backward(*small, *z)


def _backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    mean, scale, shift, p, *z = ctx.saved_tensors
    wants_z, *wants = ctx.needs_input_grad
    dz: list[Tensor | None] = [None] * len(z)
    factor = p[:, None] * scale
    for t, wanted in enumerate(wants_z if isinstance(wants_z, Sequence) else [wants_z] * len(z)):
        if wanted:
            dz[t] = (g * factor[t].view(-1, 1, 1)).to(z[t].dtype)
    if not any(wants):
        return dz, None, None, None, None
    dp, sum_g, sum_gz = node_mix_bwd_reduce(g, z, mean, scale, shift)
    return dz, -factor * sum_g, p[:, None] * sum_gz, (p[:, None] * sum_g).expand_as(shift), dp


node_mix.register_autograd(_backward, setup_context=_setup)


def _check(z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor | None) -> None:
    if not 1 <= len(z) <= MOST_TERMS:
        raise SupernetError(f"node_mix of {len(z)} terms: 1 to {MOST_TERMS} are allowed; add more in a second call")
    first = z[0]
    served = (*STORAGE, torch.float64) if first.device.type == "cpu" else tuple(STORAGE)
    if first.dim() != 4 or first.dtype not in served:
        given = f"{first.dtype} of shape {tuple(first.shape)}"
        raise SupernetError(f"node_mix takes terms [B, C, H, W] of {served} on {first.device.type}, not {given}")
    for t, x in enumerate(z):
        _same(f"term {t}", x, first)
    dtype = torch.promote_types(first.dtype, torch.float32)
    sizes = {"mean": mean, "scale": scale, "shift": shift} | ({} if p is None else {"p": p})
    for name, x in sizes.items():
        shape = (len(z),) if name == "p" else (len(z), first.shape[1])
        if tuple(x.shape) != shape or x.dtype != dtype or x.device != first.device:
            wanted, given = f"{dtype} {shape} on {first.device}", f"{x.dtype} {tuple(x.shape)} on {x.device}"
            raise SupernetError(f"node_mix takes {name} as {wanted}, not {given}")


def _same(what: str, x: Tensor, first: Tensor) -> None:
    if x.shape != first.shape or x.dtype != first.dtype or x.device != first.device:
        here, there = (f"{y.dtype} {tuple(y.shape)} on {y.device}" for y in (x, first))
        raise SupernetError(f"node_mix: {what} is {here}, but the first term {there}; all must be alike")


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def forward_launches(
    z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, out: Tensor
) -> list[Launch]:
    """The kernel that writes `out`; all terms and `out` are channels-last."""
    pixels, channels = _pixels(out), out.shape[1]
    if not out.numel():
        return []
    g = geometry(channels, [*z, out])
    kernel = Kernel(SOURCE, f"node_mix_fwd<{STORAGE[out.dtype]}, {len(z)}, {channels}, {g.vector}>")
    blocks = min(-(-pixels // (2 * g.rows)), BLOCKS)  # 2: PIXELS of node_mix.cu
    arguments = (table(z), *map(pointer, (mean, scale, shift, p, out)), ctypes.c_longlong(pixels))
    return [Launch(kernel, (blocks, g.tiles, 1), arguments)]


def _partials(g: Tensor, z: Sequence[Tensor]) -> int:
    return min(-(-_pixels(g) // geometry(g.shape[1], [g, *z]).rows), PARTIALS)


def reduce_launches(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor,
    partial: Tensor, dp: Tensor, sum_g: Tensor, sum_gz: Tensor,
) -> list[Launch]:  # fmt: skip
    """The two passes of the sums; `partial` is [blocks of the first pass, T + 1, C], float32."""
    terms, channels = len(z), g.shape[1]
    form = geometry(channels, [g, *z])
    first = Kernel(SOURCE, f"node_mix_bwd_reduce<{STORAGE[g.dtype]}, {terms}, {channels}, {form.vector}>")
    second = Kernel(SOURCE, f"node_mix_bwd_finish<{terms}, {channels}>")
    blocks = partial.shape[0]
    arguments = (pointer(g), table(z), pointer(mean), pointer(partial), ctypes.c_longlong(_pixels(g)))
    finish = (pointer(partial), ctypes.c_int(blocks), *map(pointer, (scale, shift, dp, sum_g, sum_gz)))
    return [Launch(first, (blocks, form.tiles, 1), arguments), Launch(second, (terms, 1, 1), finish)]


def _forward_cpu(z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, out: Tensor) -> None:
    total = (p @ shift).view(-1, 1, 1).expand(out.shape).contiguous(memory_format=torch.channels_last)
    factor = p[:, None] * scale
    for t, x in enumerate(z):
        total.addcmul_(x.to(total.dtype) - mean[t].view(-1, 1, 1), factor[t].view(-1, 1, 1))
    out.copy_(total)


def _reduce_cpu(
    g: Tensor, z: Sequence[Tensor], mean: Tensor, scale: Tensor, shift: Tensor,
    dp: Tensor, sum_g: Tensor, sum_gz: Tensor,
) -> None:  # fmt: skip
    upstream = g.to(mean.dtype)
    sum_g.copy_(upstream.sum((0, 2, 3)))
    for t, x in enumerate(z):
        sum_gz[t] = (upstream * (x.to(mean.dtype) - mean[t].view(-1, 1, 1))).sum((0, 2, 3))
    dp.copy_((scale * sum_gz + shift * sum_g).sum(1))
