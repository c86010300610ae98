"""What each operator of `supernet.cuda_kernels` computes: unfused, stock operations, one precision throughout.

It serves twice: in float64 as what is right, and in the storage's own precision as the eager rival, whose time and
error the operators are held against. A function takes the operator's arguments and returns a function without any, the
part that is timed: weights are cast and, for a backward, the forward has run and kept what autograd keeps.
"""
# B batch, C channels, H height, W width, N = B * H * W, n, m branches, T terms, E edges

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["EAGER"]

Run = Callable[[], tuple[Any, ...]]
Tensors = Sequence[Tensor]
TINY = 1e-30  # beside a variance of 1 it is 0 in every type; torch 2.11 refuses an epsilon of 0


def _view(x: Tensor) -> Tensor:
    """[C] to broadcast over [B, C, H, W]."""
    return x.view(-1, 1, 1)


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def _cast(like: Tensor, tensors: Tensors) -> list[Tensor]:
    """Leaves of the type of `like`, as autocast has them."""
    return [w.detach().to(like.dtype).requires_grad_(w.requires_grad) for w in tensors]


def _branch(u: Tensor, dw: Tensor, pw: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    pad = dilation * (dw.shape[-1] // 2)
    h = F.conv2d(u, dw, stride=stride, padding=pad, dilation=dilation, groups=dw.shape[0])
    return F.conv2d(h, pw)


def _statistics(z: Tensors, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and 1 / std, [n, C], summed in float32 or wider."""
    if z[0].is_cuda and z[0].dtype != torch.float64:  # without a wide copy of z
        mean, rstd = (torch.stack(x) for x in zip(*(torch.batch_norm_stats(x, eps) for x in z), strict=True))
        return mean, rstd**-2 - eps, rstd
    wide = torch.promote_types(z[0].dtype, torch.float32)
    pairs = [torch.var_mean(x.to(wide), (0, 2, 3), correction=0) for x in z]
    var, mean = (torch.stack(x) for x in zip(*pairs, strict=True))
    return mean, var, (var + eps).rsqrt()


def _affine(g: Tensor, z: Tensor, coef: Tensor) -> Tensor:
    """Batch norm's backward: coef[0] g + coef[1] z + coef[2] per channel."""
    a, b, c = (_view(x) for x in coef.to(g.dtype))
    return torch.addcmul(torch.addcmul(c, g, a), z, b)


def _coefficients(factor: Tensor, mean: Tensor, rstd: Tensor, sum_g: Tensor, sum_gz: Tensor, count: int) -> Tensor:
    """[n, 3, C] of dz = c0 g + c1 z + c2, the backward of a norm whose statistics are its batch's."""
    c1 = -factor * rstd**2 * sum_gz / count
    c2 = torch.where(rstd == 0, 0.0, -factor * sum_g / count) - c1 * mean
    return torch.stack([factor, c1, c2], 1)


def edge_group(x: Tensor, dw: Tensors, pw: Tensors, dilation: Sequence[int], stride: int, eps: float) -> Run:
    dw, pw = _cast(x, dw), _cast(x, pw)

    def run() -> tuple[Any, ...]:
        u = F.relu(x)
        z = [_branch(u, d, p, stride, k) for d, p, k in zip(dw, pw, dilation, strict=True)]
        return z, *_statistics(z, eps)

    return run


def edge_group_bwd(
    x: Tensor, dw: Tensors, pw: Tensors, dilation: Sequence[int], stride: int,
    g: Tensors, z: Tensors, coef: Tensor, add: Tensor | None, weights: bool,
) -> Run:  # fmt: skip
    x = x.detach().requires_grad_()
    dw, pw = ([w.detach().requires_grad_(weights) for w in group] for group in (dw, pw))
    dw, pw = _cast(x, dw), _cast(x, pw)
    u = F.relu(x)
    out = [_branch(u, d, p, stride, k) for d, p, k in zip(dw, pw, dilation, strict=True)]

    def run() -> tuple[Any, ...]:
        dz = [_affine(g[i], z[i], coef[i]) for i in range(len(out))]
        dx, *dws = torch.autograd.grad(out, [x, *(w for w in (*dw, *pw) if weights)], dz, retain_graph=True)
        return dx if add is None else dx + add, dws[: len(dw)], dws[len(dw) :]

    return run


def sep_second(z1: Tensors, mean: Tensor, scale: Tensor, shift: Tensor, dw: Tensors, pw: Tensors, eps: float) -> Run:
    dw, pw = _cast(z1[0], dw), _cast(z1[0], pw)

    def run() -> tuple[Any, ...]:
        u = [F.relu(_normed(z1[i], mean[i], scale[i], shift[i])) for i in range(len(z1))]
        z2 = [_branch(*x) for x in zip(u, dw, pw, strict=True)]
        return z2, *_statistics(z2, eps)

    return run


def _normed(z: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """In the type of `z`; the mean is taken off in a wider one, as batch norm does."""
    if z.dtype == torch.bfloat16:
        return F.batch_norm(z, mean, torch.ones_like(mean), scale, shift, training=False, eps=TINY)
    return (z - _view(mean)) * _view(scale) + _view(shift)


def sep_second_bwd(
    z1: Tensors, mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, dw: Tensors, pw: Tensors,
    g: Tensors, z2: Tensors, coef: Tensor, weights: bool,
) -> Run:  # fmt: skip
    dw, pw = ([w.detach().requires_grad_(weights) for w in group] for group in (dw, pw))
    dw, pw = _cast(z1[0], dw), _cast(z1[0], pw)
    v = [_normed(z1[i], mean[i], scale[i], shift[i]).detach().requires_grad_() for i in range(len(z1))]
    out = [_branch(F.relu(x), d, p) for x, d, p in zip(v, dw, pw, strict=True)]
    wide, wanted = mean.dtype, [w for w in (*dw, *pw) if weights]

    def run() -> tuple[Any, ...]:
        dz = [_affine(g[i], z2[i], coef[i]) for i in range(len(out))]
        found = torch.autograd.grad(out, [*v, *wanted], dz, retain_graph=True)
        d1, dws = list(found[: len(v)]), found[len(v) :]
        sum_d = torch.stack([d.sum((0, 2, 3), dtype=wide) for d in d1])
        sum_dz = torch.stack([(d * (z1[i] - _view(mean[i]))).sum((0, 2, 3), dtype=wide) for i, d in enumerate(d1)])
        coef1 = _coefficients(scale, mean, rstd, sum_d, sum_dz, _pixels(z1[0]))
        return d1, coef1, sum_d, sum_dz, dws[: len(dw)], dws[len(dw) :]

    return run


def _pools(x: Tensor, stride: int) -> list[Tensor]:
    return [F.max_pool2d(x, 3, stride, 1), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)]


def pool_pair(x: Tensor, stride: int, eps: float) -> Run:
    def run() -> tuple[Any, ...]:
        pooled = _pools(x, stride)
        return pooled, *_statistics(pooled, eps)

    return run


def pool_pair_bwd(
    x: Tensor, pooled: Tensors, g: Tensors, factor: Tensor, b: Tensor, c: Tensor, stride: int
) -> Run:  # fmt: skip
    x = x.detach().requires_grad_()
    out = _pools(x, stride)
    factor, b, c = (f.to(x.dtype) for f in (factor, b, c))

    def mixed(of: int) -> Tensor:
        total = g[0] * _view(factor[of, 0])
        for i in range(1, len(g)):
            total = torch.addcmul(total, g[i], _view(factor[of, i]))
        return total

    def run() -> tuple[Any, ...]:
        dz = [torch.addcmul(mixed(i) + _view(c[i]), pooled[i], _view(b[i])) for i in range(2)]
        (dx,) = torch.autograd.grad(out, [x], dz, retain_graph=True)
        return (dx + mixed(2) if stride == 1 else dx,)

    return run


def node_mix(z: Tensors, mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor) -> Run:
    weights = p.to(z[0].dtype)

    def run() -> tuple[Any, ...]:
        terms = [weights[t] * _normed(x, mean[t], scale[t], shift[t]) for t, x in enumerate(z)]
        return (sum(terms[1:], terms[0]),)

    return run


def node_mix_bwd_reduce(
    g: Tensor, z: Tensors, mean: Tensor, scale: Tensor, shift: Tensor, rstd: Tensor, p: Tensor
) -> Run:  # fmt: skip
    wide = mean.dtype

    def run() -> tuple[Any, ...]:
        sum_g = g.sum((0, 2, 3), dtype=wide)
        sum_gz = torch.stack([(g * (x - _view(mean[t]))).sum((0, 2, 3), dtype=wide) for t, x in enumerate(z)])
        dp = (scale * sum_gz + shift * sum_g).sum(1)
        return dp, sum_g, sum_gz, _coefficients(p[:, None] * scale, mean, rstd, sum_g, sum_gz, _pixels(g))

    return run


def node_mix_shuffled(
    z: Tensors, mean: Tensor, scale: Tensor, shift: Tensor, p: Tensor, bypass: Tensors, beta: Tensor, k: int
) -> Run:  # fmt: skip
    mix, weights = node_mix(z, mean, scale, shift, p), beta.to(z[0].dtype)

    def run() -> tuple[Any, ...]:
        (first,) = mix()
        rest = sum(weights[e] * x[:, first.shape[1] :] for e, x in enumerate(bypass))
        joined = torch.cat([first, rest], 1)
        return (joined.unflatten(1, (k, -1)).transpose(1, 2).flatten(1, 2),)

    return run


EAGER: dict[str, Callable[..., Run]] = {
    f.__name__: f
    for f in (
        edge_group, edge_group_bwd, sep_second, sep_second_bwd, pool_pair, pool_pair_bwd, node_mix, node_mix_bwd_reduce,
        node_mix_shuffled,
    )
}  # fmt: skip
