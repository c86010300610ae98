"""node_mix as an operator of PyTorch on the CPU: values and gradients against float64, layouts, refusals, opcheck."""
# B batch, C channels, H height, W width, T terms

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from supernet.cuda_kernels.node_mix.mix import (
    node_mix,
    node_mix_bwd_reduce,
    node_mix_reference,
    node_mix_reference_sums,
)
from supernet.errors import SupernetError

SHAPES = [(2, 16, 6, 5, 14), (1, 1, 1, 1, 1), (3, 5, 7, 2, 4), (1, 33, 1, 4, 2)]
DTYPES = [torch.float32, torch.bfloat16]


def inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[list[Tensor], ...]:
    """Terms, (mean, scale, shift, p) and [g]; all leaves."""
    *image, terms = shape
    draw = torch.Generator().manual_seed(seed)
    z = [torch.randn(image, generator=draw).to(dtype, memory_format=torch.channels_last) for _ in range(terms)]
    wide = torch.promote_types(dtype, torch.float32)
    sizes = [(terms, image[1])] * 3 + [(terms,)]
    small = [torch.randn(size, generator=draw).to(wide) for size in sizes]
    return [x.requires_grad_() for x in z], [x.requires_grad_() for x in small], [torch.randn(image).to(dtype)]


def with_rstd(small: list[Tensor]) -> list[Tensor]:
    """mean, scale, shift, rstd, p out of `small`; the first term's statistics are constants."""
    mean, scale, shift, p = (x.detach() for x in small)
    rstd = scale.abs()
    rstd[0] = 0.0
    return [mean, scale, shift, rstd, p]


def double(tensors: list[Tensor]) -> list[Tensor]:
    return [x.detach().double().requires_grad_(x.requires_grad) for x in tensors]


def error(x: Tensor, exact: Tensor) -> float:
    x, exact = x.detach(), exact.detach()
    return float((x.double() - exact).norm() / exact.norm().clamp_min(1e-30))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    z, small, (g,) = inputs(shape, dtype)
    z64, small64, (g64,) = double(z), double(small), double([g])
    y, there = node_mix(z, *small), node_mix_reference(z64, *small64)
    usual = node_mix_reference([x.float() for x in z], *small).to(dtype)
    assert error(y, there) <= 2 * error(usual, there) + 1e-6
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    found = torch.autograd.grad(y, [*z, *small], g)
    exact = torch.autograd.grad(there, [*z64, *small64], g64)
    plain = torch.autograd.grad(usual, [*z, *small], g)
    for x, one, other in zip(found, plain, exact, strict=True):
        assert error(x, other) <= 2 * error(one, other) + 1e-6
    sums = node_mix_bwd_reduce(g, [x.detach() for x in z], *with_rstd(small))
    plain = node_mix_reference_sums(g.float(), [x.detach().float() for x in z], *with_rstd(small))
    exact = node_mix_reference_sums(g64, [x.detach() for x in z64], *with_rstd(small64))
    for x, one, other in zip(sums, plain, exact, strict=True):
        assert error(x, other) <= 2 * error(one, other) + 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_float64_is_exact_on_the_cpu(shape: tuple[int, ...]) -> None:
    z, small, (g,) = (double(x) for x in inputs(shape))
    y, there = node_mix(z, *small), node_mix_reference(z, *small)
    torch.testing.assert_close(y, there, rtol=1e-12, atol=1e-12)
    found, exact = (torch.autograd.grad(out, [*z, *small], g) for out in (y, there))
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)
    if shape[0] == 1:  # small enough for finite differences
        assert torch.autograd.gradcheck(lambda *x: node_mix(list(x[4:]), *x[:4]), [*small, *z])


def test_batch_norm_and_its_backward_follow_from_the_sums() -> None:
    """The closed form that the backward of a whole mixed node takes its sums for."""
    z, (_, _, _, p), (g,) = (double(x) for x in inputs((3, 4, 5, 6, 3)))
    normed = [torch.nn.functional.batch_norm(x, None, None, training=True) for x in z]
    out = sum(p[t] * x for t, x in enumerate(normed))
    exact = torch.autograd.grad(out, [*z, p], g)
    mean = torch.stack([x.mean((0, 2, 3)) for x in z]).detach()
    scale = torch.stack([(x.var((0, 2, 3), unbiased=False) + 1e-5).rsqrt() for x in z]).detach()
    z = [x.detach() for x in z]
    dp, _, _, coef = node_mix_bwd_reduce(g, z, mean, scale, torch.zeros_like(mean), scale, p.detach())
    torch.testing.assert_close(dp, exact[-1])
    for t, x in enumerate(z):
        a, b, c = (coef[t, i].view(-1, 1, 1) for i in range(3))
        torch.testing.assert_close(a * g + b * x + c, exact[t], rtol=1e-9, atol=1e-9)


def test_statistics_that_are_constants_take_no_gradient() -> None:
    """As in evaluation: dz is p scale g, also where the sums are not finite."""
    z, small, (g,) = inputs((2, 4, 3, 3, 2))
    mean, scale, shift, rstd, p = with_rstd(small)
    g[0, 1, 0, 0] = torch.inf
    coef = node_mix_bwd_reduce(g, z, mean, scale, shift, rstd, p)[3]
    assert torch.equal(coef[0, 0], p[0] * scale[0]) and (coef[0, 1:] == 0).all()
    assert coef[1, :, [0, 2, 3]].isfinite().all() and not coef[1, 1:, 1].isfinite().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_term_that_does_not_run_is_never_read(dtype: torch.dtype) -> None:
    """Whatever it and its factors hold: the node is that of the others, and its own gradients are zeros."""
    z, small, (g,) = inputs((2, 4, 3, 5, 4), dtype)
    gate, on = small[0].new_tensor([1.0, 0.0, 3.0, 0.0]), [0, 2]
    with torch.no_grad():
        for t in (1, 3):
            for x in (z[t], *(y[t] for y in small)):
                x.fill_(torch.nan)
    few = [x.detach()[on].requires_grad_() for x in small]
    y, there = node_mix(z, *small, gate), node_mix([z[t] for t in on], *few)
    torch.testing.assert_close(y, there)
    assert torch.equal(node_mix_reference(z, *small, gate).isfinite(), there.isfinite())
    found = torch.autograd.grad(y, [*z, *small], g)
    exact = torch.autograd.grad(there, [*(z[t] for t in on), *few], g)
    torch.testing.assert_close([found[t] for t in on] + [x[on] for x in found[4:]], list(exact))
    assert all((found[t] == 0).all() for t in (1, 3)) and all((x[[1, 3]] == 0).all() for x in found[4:])
    dp, _, sum_gz, coef = node_mix_bwd_reduce(g, z, *with_rstd(small), gate)
    exact = node_mix_bwd_reduce(g, [z[t] for t in on], *(x[on] for x in with_rstd(small)))
    torch.testing.assert_close((dp[on], sum_gz[on], coef[on]), (exact[0], exact[2], exact[3]))
    assert all((x[[1, 3]] == 0).all() for x in (dp, sum_gz, coef))


def test_a_node_of_which_nothing_runs_is_zero() -> None:
    z, small, (g,) = inputs((2, 4, 3, 5, 3))
    nothing = torch.zeros(3)
    assert (node_mix(z, *small, nothing) == 0).all() and (node_mix_reference(z, *small, nothing) == 0).all()
    dp, sum_g, sum_gz, coef = node_mix_bwd_reduce(g, z, *with_rstd(small), nothing)
    assert all((x == 0).all() for x in (dp, sum_gz, coef))
    torch.testing.assert_close(sum_g, g.sum((0, 2, 3)))


def test_other_layouts_give_the_same() -> None:
    """NCHW, a slice of the channels and an expanded gradient are copied; statistics may be views."""
    z, small, _ = inputs((2, 6, 4, 3, 2))
    expected = node_mix(z, *small)
    assert torch.equal(node_mix([x.contiguous() for x in z], *small), expected)
    wide = [torch.cat([x, x], 1)[:, 6:] for x in z]
    turned = [x.t().contiguous().t() for x in small[:3]]
    assert torch.equal(node_mix(wide, *turned, small[3]), expected)
    (dp,) = torch.autograd.grad(node_mix(z, *small).sum(), small[3])  # its gradient is one number, expanded
    (there,) = torch.autograd.grad(node_mix_reference(z, *small).sum(), small[3])
    torch.testing.assert_close(dp, there, rtol=1e-4, atol=1e-4)


def test_an_empty_batch() -> None:
    z, small, (g,) = inputs((0, 6, 4, 3, 2))
    assert node_mix(z, *small).shape == (0, 6, 4, 3)
    assert all((x == 0).all() for x in node_mix_bwd_reduce(g, z, *with_rstd(small)))


def test_two_runs_give_the_same_bits() -> None:
    z, small, (g,) = inputs((2, 16, 6, 5, 14))
    runs = [torch.autograd.grad(node_mix(z, *small), [*z, *small], g) for _ in range(2)]
    assert all(map(torch.equal, *runs))


def test_gradients_only_where_they_are_asked_for() -> None:
    z, small, (g,) = inputs((2, 3, 4, 5, 3))
    z[1].requires_grad_(False)
    for x in small[:3]:
        x.requires_grad_(False)
    y, there = (f(z, *small) for f in (node_mix, node_mix_reference))
    wanted = [z[0], z[2], small[3]]
    torch.testing.assert_close(torch.autograd.grad(y, wanted, g), torch.autograd.grad(there, wanted, g))


def test_a_second_derivative_is_refused() -> None:
    z, small, (g,) = inputs((2, 3, 4, 5, 3))
    (dp,) = torch.autograd.grad(node_mix(z, *small), small[3], g, create_graph=True)
    with pytest.raises(RuntimeError, match="node_mix_bwd_reduce"):
        dp.sum().backward()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # within opcheck
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype) -> None:
    z, small, (g,) = inputs((2, 5, 3, 4, 3), dtype)
    gate = small[0].new_tensor([1.0, 0.0, 1.0])
    for arguments in ((), (gate,)):
        torch.library.opcheck(node_mix, (z, *small, *arguments))
        torch.library.opcheck(node_mix_bwd_reduce, (g, [x.detach() for x in z], *with_rstd(small), *arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, small: z.clear(), "of 0 terms: 1 to 64"),
        (lambda z, small: z.extend(z * 40), "1 to 64 are allowed"),
        (lambda z, small: z.__setitem__(1, z[1][:, :2]), r"term 1 is torch.float32 \(2, 2, 4, 5\)"),
        (lambda z, small: z.__setitem__(2, z[2].bfloat16()), "term 2 is torch.bfloat16"),
        (lambda z, small: z.__setitem__(slice(None), [x.half() for x in z]), "torch.float16 of shape"),
        (lambda z, small: z.__setitem__(slice(None), [x[0] for x in z]), r"takes term 0 as \[B, C, H, W\]"),
        (lambda z, small: small.__setitem__(0, small[0][:2]), r"takes mean as torch.float32 \(3, 3\)"),
        (lambda z, small: small.__setitem__(3, small[3].double()), "takes p as torch.float32"),
    ],
)
def test_mistakes_are_one_line(change: object, message: str) -> None:
    z, small, _ = inputs((2, 3, 4, 5, 3))
    change(z, small)  # type: ignore[operator]
    with pytest.raises(SupernetError, match=message):
        node_mix(z, *small)


@pytest.mark.long
def test_the_bindings_are_loaded_only_for_a_gpu() -> None:
    """A torch without CUDA has neither NVRTC nor its bindings; the operators and the package work there."""
    code = (
        "import sys; sys.modules['cuda'] = None; sys.modules['cuda.bindings'] = None\n"
        "import torch, supernet\n"
        "from supernet.cuda_kernels.node_mix.mix import node_mix\n"
        "from supernet.cuda_kernels.gpu.compile import compiler_version\n"
        "one = torch.ones(1, 2); node_mix([torch.ones(1, 2, 3, 3)], one, one, one, torch.ones(1))\n"
        "try:\n    compiler_version()\nexcept ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SupernetError the CUDA kernels need cuda.bindings.nvrtc")
