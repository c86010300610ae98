"""edge_group and sep_second as operators of PyTorch on the CPU: references, gradients, layouts, refusals, opcheck."""
# B batch, C channels, H height, W width, n branches

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.cuda_kernels.normalisation import norm_coefficients
from supernet.cuda_kernels.separable.edge_group import edge_group, edge_group_bwd
from supernet.cuda_kernels.separable.sep_second import sep_second, sep_second_bwd
from supernet.errors import SupernetError

EPS = 1e-5
SHAPES = [(2, 4, 6, 5), (1, 1, 1, 1), (3, 5, 7, 2)]


def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def image(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return draw(shape, seed, dtype).contiguous(memory_format=torch.channels_last)


def weights(c: int, kernels: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor]]:
    dw = [draw((c, 1, k, k), 10 + i, dtype) / k for i, k in enumerate(kernels)]
    return dw, [draw((c, c, 1, 1), 20 + i, dtype) / c**0.5 for i in range(len(kernels))]


def composed(x: Tensor, dw: list[Tensor], pw: list[Tensor], dilation: list[int], stride: int) -> Tensor:
    """The branches by stock operations, differentiable."""
    found = []
    for d, p, dil in zip(dw, pw, dilation, strict=True):
        h = F.conv2d(F.relu(x), d, stride=stride, padding=dil * (d.shape[-1] // 2), dilation=dil, groups=x.shape[1])
        found.append(F.conv2d(h, p))
    return torch.stack(found)


def normed(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    var, mean = torch.var_mean(z, (1, 3, 4), correction=0)
    return mean, var, (var + EPS).rsqrt()


def leaves(*tensors: Tensor | list[Tensor]) -> list[Tensor]:
    flat = [t for one in tensors for t in (one if isinstance(one, list) else [one])]
    return [t.requires_grad_() for t in flat]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_edge_group_and_its_gradients_equal_the_composition(shape: tuple[int, ...], stride: int) -> None:
    dilation = [1, 1, 2, 2]
    x, (dw, pw) = image(shape, 0), weights(shape[1], (3, 5, 3, 5))
    inputs = leaves(x, dw, pw)
    found = edge_group(x, dw, pw, dilation, stride, EPS)
    z = composed(x, dw, pw, dilation, stride)
    expected = (z, *normed(z))
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in found[0])
    upstream = [draw(tuple(y.shape), 30 + i) for i, y in enumerate(expected)]
    if z.numel() == z.shape[0]:  # a variance of one pixel has no slope
        upstream[1:] = [torch.zeros_like(u) for u in upstream[1:]]
    for y, there in zip(found, expected, strict=True):
        torch.testing.assert_close(y, there, rtol=1e-10, atol=1e-10)
    ours, theirs = (torch.autograd.grad(y, inputs, upstream) for y in (found, expected))
    for y, there in zip(ours, theirs, strict=True):
        torch.testing.assert_close(y, there, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sep_second_and_its_gradients_equal_the_composition(shape: tuple[int, ...]) -> None:
    c = shape[1]
    z1, (dw, pw) = [image(shape, i) for i in range(3)], weights(c, (3, 5, 7))
    mean, scale, shift = (draw((3, c), 40 + i) for i in range(3))
    inputs = leaves(z1, mean, scale, shift, dw, pw)
    found = sep_second(z1, mean, scale, shift, dw, pw, EPS)
    v = [(x - mean[i].view(-1, 1, 1)) * scale[i].view(-1, 1, 1) + shift[i].view(-1, 1, 1) for i, x in enumerate(z1)]
    z = torch.cat([composed(x, [dw[i]], [pw[i]], [1], 1) for i, x in enumerate(v)])
    expected = (z, *normed(z))
    upstream = [draw(tuple(y.shape), 30 + i) for i, y in enumerate(expected)]
    if z.numel() == z.shape[0]:
        upstream[1:] = [torch.zeros_like(u) for u in upstream[1:]]
    for y, there in zip(found, expected, strict=True):
        torch.testing.assert_close(y, there, rtol=1e-10, atol=1e-10)
    ours, theirs = (torch.autograd.grad(y, inputs, upstream) for y in (found, expected))
    for y, there in zip(ours, theirs, strict=True):
        torch.testing.assert_close(y, there, rtol=1e-8, atol=1e-8)


def test_the_norm_between_the_halves_is_an_affine_function_on_load() -> None:
    """A whole separable convolution backwards by the two operators, against autograd."""
    c = 4
    x, (dw, pw) = image((2, c, 6, 5), 0), weights(c, (3, 5))
    inputs = leaves(x, dw, pw)
    half = F.batch_norm(composed(x, [dw[0]], [pw[0]], [1], 1)[0], None, None, training=True, eps=EPS)
    out = F.batch_norm(composed(half, [dw[1]], [pw[1]], [1], 1)[0], None, None, training=True, eps=EPS)
    g = image(tuple(out.shape), 3)
    expected = torch.autograd.grad(out, inputs, g)
    with torch.no_grad():
        z1, mean, _, rstd = edge_group(x, dw[:1], pw[:1], [1], 1, EPS)
        shift, count = torch.zeros_like(mean), g.numel() // c
        z2, mean2, _, rstd2 = sep_second([z1[0]], mean, rstd, shift, dw[1:], pw[1:], EPS)
        sum_gz = (g * (z2[0] - mean2[0].view(-1, 1, 1))).sum((0, 2, 3))[None]
        coef2 = norm_coefficients(rstd2, mean2, rstd2, g.sum((0, 2, 3))[None], sum_gz, count)
        d1, coef1, _, _, ddw2, dpw2 = sep_second_bwd(
            [z1[0]], mean, rstd, shift, rstd, dw[1:], pw[1:], [g], z2, coef2, True
        )
        dx, ddw1, dpw1 = edge_group_bwd(x, dw[:1], pw[:1], [1], 1, [d1[0]], z1, coef1, None, True)
    for y, there in zip([dx, *ddw1, *ddw2, *dpw1, *dpw2], expected, strict=True):
        torch.testing.assert_close(y, there, rtol=1e-8, atol=1e-8)


def test_a_closed_gate_runs_nothing_and_gives_zeros() -> None:
    x, (dw, pw) = image((2, 4, 5, 6), 0), weights(4, (3, 5, 3))
    gate, dilation = torch.tensor([1.0, 0.0, 0.3], dtype=torch.float64), [1, 1, 2]
    z, mean, _, rstd = edge_group(x, dw, pw, dilation, 1, EPS, gate)
    z[1], g = torch.nan, [image(tuple(z[0].shape), 5)] * 3
    coef = draw((3, 3, 4), 6)
    dx, ddw, dpw = edge_group_bwd(x, dw, pw, dilation, 1, g, z, coef, None, True, gate)
    kept = [0, 2]
    parts = [[w[i] for i in kept] for w in (dw, pw)]
    alone = edge_group(x, *parts, [1, 2], 1, EPS)
    torch.testing.assert_close(alone, (z[kept], mean[kept], alone[2], rstd[kept]))
    there = edge_group_bwd(x, *parts, [1, 2], 1, g[:2], z[kept], coef[kept], None, True)
    torch.testing.assert_close((dx, [ddw[i] for i in kept], [dpw[i] for i in kept]), there)
    assert not ddw[1].any() and not dpw[1].any()
    assert mean[1].isfinite().all()


def test_constants_as_statistics_leave_only_the_factor() -> None:
    """rstd = 0, as in evaluation: mean and scale do not depend on z."""
    a, mean, sums = draw((2, 3), 0), draw((2, 3), 1), draw((2, 3), 2)
    coef = norm_coefficients(a, mean, torch.zeros_like(a), sums, sums, 10)
    assert torch.equal(coef[:, 0], a) and not coef[:, 1:].any()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # within opcheck
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    x, (dw, pw) = image((2, 4, 5, 3), 0, dtype), weights(4, (3, 5), torch.float32)
    leaves(x, dw, pw)
    torch.library.opcheck(edge_group, (x, dw, pw, [1, 2], 2, EPS))
    small = [draw((2, 4), i, torch.float32).requires_grad_() for i in range(3)]
    z1 = leaves([image((2, 4, 5, 3), i, dtype) for i in range(2)])
    torch.library.opcheck(sep_second, (z1, *small, dw, pw, EPS))
    plain = [t.detach() for t in (*dw, *pw)]
    dw, pw, (mean, scale, shift) = plain[:2], plain[2:], (t.detach() for t in small)
    z, coef = edge_group(x.detach(), dw, pw, [1, 2], 2, EPS)[0], draw((2, 3, 4), 9, torch.float32)
    for add, on in ((None, True), (x.detach(), False)):
        torch.library.opcheck(edge_group_bwd, (x.detach(), dw, pw, [1, 2], 2, list(z.clone()), z, coef, add, on))
    z1 = [x.detach() for x in z1]
    z2 = sep_second(z1, mean, scale, shift, dw, pw, EPS)[0]
    torch.library.opcheck(
        sep_second_bwd, (z1, mean, scale, shift, scale, dw, pw, list(z2.clone()), z2, coef, True, torch.ones(2))
    )


def test_whole_operators_compile_without_a_break() -> None:
    x, (dw, pw) = image((2, 4, 5, 3), 0, torch.float32), weights(4, (3, 5), torch.float32)

    def loss(x: Tensor) -> Tensor:
        z, mean, _, rstd = edge_group(x, dw, pw, [1, 2], 1, EPS)
        shift = torch.zeros_like(mean)
        return sep_second(list(z.unbind()), mean, rstd, shift, dw, pw, EPS)[0].square().mean()

    x.requires_grad_()
    (plain,) = torch.autograd.grad(loss(x), x)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x)[0], plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(x=a["x"][0]), r"takes x as \[B, C, H, W\]"),
        (lambda a: a.update(x=a["x"].half()), "not torch.float16 of shape"),
        (lambda a: a.update(pw=a["pw"][:1]), "one pointwise weight for each depthwise one, not 2 and 1"),
        (lambda a: a.update(dw=[a["dw"][0], a["dw"][1][:2]]), r"weights of branch 1 are \(2, 1, 5, 5\)"),
        (lambda a: a.update(dw=[w.double() for w in a["dw"]]), "must be torch.float32 on cpu"),
        (lambda a: a.update(stride=3), "stride=3"),
        (lambda a: a.update(dilation=[1]), r"dilation=\[1\] for 2 branches"),
        (lambda a: a.update(gate=torch.ones(3)), r"takes gate as torch.float32 \(2,\)"),
    ],
)
def test_mistakes_are_one_line(change: Callable[[dict[str, Any]], None], message: str) -> None:
    dw, pw = weights(4, (3, 5), torch.float32)
    arguments: dict[str, Any] = {"x": image((2, 4, 5, 3), 0, torch.float32), "dw": dw, "pw": pw}
    arguments |= {"dilation": [1, 2], "stride": 1, "eps": EPS, "gate": None}
    change(arguments)
    with pytest.raises(SupernetError, match=message):
        edge_group(**arguments)
