"""Operations: one contract for all that are registered, and the published formulas against slow ones in float64."""

from itertools import product
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.ops import OPERATIONS, PreActivated, operation
from supernet.ops.identity import FactorizedReduce, Zero

SIZES = [(8, 8), (7, 5), (1, 1), (2, 3)]


def make(name: str, c_in: int, c_out: int, stride: int = 1, affine: bool = True) -> nn.Module:
    """An operation in float64 whose norms scale and shift by something else than the identity."""
    op = operation(name, c_in, c_out, stride, affine).double()
    with torch.no_grad():
        for parameter in op.parameters():
            parameter.normal_()
    return op


def norm(x: Tensor, layer: nn.BatchNorm2d | None = None) -> Tensor:
    """Batch normalisation written out: the biased variance over batch and pixels, eps 1e-5."""
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    y = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True) + 1e-5)
    if layer is None or not layer.affine:
        return y
    return y * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)


def norms(op: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in op.modules() if isinstance(m, nn.BatchNorm2d)]


def filters(op: nn.Module) -> list[Tensor]:
    return [p for p in op.parameters() if p.dim() == 4]


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_contract(name: str, stride: int) -> None:
    """Shape ceil(size / stride), finite gradients for all parameters, `affine` obeyed, the input untouched."""
    for (c_in, c_out), (height, width), affine in product([(4, 4), (3, 5), (4, 1), (1, 2)], SIZES, [True, False]):
        op = make(name, c_in, c_out, stride, affine)
        x = torch.randn(4, c_in, height, width, dtype=torch.float64, requires_grad=True)
        before = x.detach().clone()
        y = op(x)
        assert y.shape == (4, c_out, ceil(height / stride), ceil(width / stride))
        assert y.dtype == x.dtype and torch.isfinite(y).all()
        assert torch.equal(x, before)
        assert all(layer.affine == affine for layer in norms(op))
        assert all(module.bias is None for module in op.modules() if isinstance(module, nn.Conv2d))
        if y.requires_grad:
            grads = torch.autograd.grad(y, [x, *op.parameters()], torch.randn_like(y))
            assert all(torch.isfinite(g).all() for g in grads)
        else:
            assert name in ("none", "noise")


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_relu_serves_all_edges_of_a_state(name: str) -> None:
    for stride in (1, 2):
        op = make(name, 4, 4, stride)
        if isinstance(op, PreActivated):
            x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
            assert torch.equal(torch.nn.Sequential(*op.behind_relu())(F.relu(x)), op(x))


@pytest.mark.parametrize(("stride", "kernel", "affine"), [*product([1, 2], [3, 5, 7], [True, False])])
def test_separable_convolution_by_hand(stride: int, kernel: int, affine: bool) -> None:
    op = make(f"sep_conv_{kernel}x{kernel}", 3, 5, stride, affine)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    dw1, pw1, dw2, pw2 = filters(op)
    bn1, bn2 = norms(op)
    y = F.conv2d(x.clamp(min=0), dw1, stride=stride, padding=kernel // 2, groups=3)
    y = norm(F.conv2d(y, pw1), bn1).clamp(min=0)
    y = norm(F.conv2d(F.conv2d(y, dw2, padding=kernel // 2, groups=3), pw2), bn2)
    close(op(x), y)


@pytest.mark.parametrize(("stride", "kernel"), [*product([1, 2], [3, 5])])
def test_dilated_convolution_by_hand(stride: int, kernel: int) -> None:
    op = make(f"dil_conv_{kernel}x{kernel}", 3, 5, stride)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    depthwise, pointwise = filters(op)
    pad = {3: 2, 5: 4}[kernel]
    y = F.conv2d(x.clamp(min=0), depthwise, stride=stride, padding=pad, dilation=2, groups=3)
    close(op(x), norm(F.conv2d(y, pointwise), norms(op)[0]))


@pytest.mark.parametrize(("stride", "kernel"), [*product([1, 2], [1, 3])])
def test_plain_convolution_by_hand(stride: int, kernel: int) -> None:
    op = make(f"nor_conv_{kernel}x{kernel}", 3, 5, stride)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    (weight,) = filters(op)
    close(op(x), norm(F.conv2d(x.clamp(min=0), weight, stride=stride, padding=kernel // 2), norms(op)[0]))


@pytest.mark.parametrize("stride", [1, 2])
def test_long_thin_convolutions_by_hand(stride: int) -> None:
    op = make("conv_7x1_1x7", 3, 5, stride)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    across, down = filters(op)
    assert across.shape[-2:] == (1, 7) and down.shape[-2:] == (7, 1)
    y = F.conv2d(x.clamp(min=0), across, stride=(1, stride), padding=(0, 3))
    close(op(x), norm(F.conv2d(y, down, stride=(stride, 1), padding=(3, 0)), norms(op)[0]))


@pytest.mark.parametrize(("kind", "stride", "size"), [*product(["avg", "max"], [1, 2], SIZES)])
def test_pooling_by_loop(kind: str, stride: int, size: tuple[int, int]) -> None:
    """Windows of 3x3 around each `stride`-th pixel, over the pixels that exist."""
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.empty(2, 3, *(ceil(s / stride) for s in size), dtype=torch.float64)
    for i, j in product(*(range(s) for s in expected.shape[-2:])):
        top, left = stride * i, stride * j
        window = x[:, :, max(0, top - 1) : top + 2, max(0, left - 1) : left + 2].flatten(2)
        expected[:, :, i, j] = window.mean(-1) if kind == "avg" else window.amax(-1)
    close(make(f"{kind}_pool_3x3", 3, 3, stride)(x), expected)


def test_pooling_to_other_channels_goes_through_a_convolution() -> None:
    op = make("avg_pool_3x3", 3, 5, 2)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    (weight,) = filters(op)
    y = norm(F.conv2d(x.clamp(min=0), weight), norms(op)[0])
    close(op(x), F.avg_pool2d(y, 3, stride=2, padding=1, count_include_pad=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factorized_reduce_is_the_published_one_to_the_bit(dtype: torch.dtype) -> None:
    op = FactorizedReduce(6, 8).to(dtype)
    x = torch.randn(3, 6, 10, 12, dtype=dtype)
    first, second = filters(op)
    (bn,) = norms(op)
    published = torch.cat(
        [F.conv2d(F.relu(x), first, stride=2), F.conv2d(F.relu(x)[:, :, 1:, 1:], second, stride=2)], 1
    )
    published = F.batch_norm(published, None, None, bn.weight, bn.bias, training=True)
    assert torch.equal(op(x), published)


@pytest.mark.parametrize("size", [(7, 5), (7, 6), (6, 5), (1, 1)])
def test_factorized_reduce_pads_odd_sizes_right_and_below(size: tuple[int, int]) -> None:
    op = FactorizedReduce(6, 8).double()
    x = torch.randn(3, 6, *size, dtype=torch.float64)
    padded = torch.zeros(3, 6, *(s + s % 2 for s in size), dtype=torch.float64)
    padded[:, :, : size[0], : size[1]] = x
    assert torch.equal(op(x), op(padded))


def test_identity_and_zero() -> None:
    x = torch.randn(2, 3, 7, 5)
    assert operation("skip_connect", 3, 3)(x) is x
    for stride, height, width in ((1, 7, 5), (2, 4, 3)):
        zero = operation("none", 3, 4, stride)
        assert isinstance(zero, Zero) and not list(zero.parameters())
        assert torch.equal(zero(x), torch.zeros(2, 4, height, width))
    hostile = torch.full((1, 1, 2, 2), float("nan"))
    assert torch.equal(operation("none", 1, 1)(hostile), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_standard_normal_whatever_its_input(stride: int) -> None:
    noise = operation("noise", 3, 8, stride)
    x = torch.full((16, 3, 32, 31), float("nan"))
    torch.manual_seed(0)
    first, second = noise(x), noise(x)
    n = first.numel()
    assert abs(first.mean()) < 5 / n**0.5 and abs(first.std() - 1) < 5 / (2 * n) ** 0.5
    assert ((first.abs() < 1).float().mean() - 0.6827).abs() < 5 * (0.22 / n) ** 0.5
    assert abs((first * second).mean()) < 5 / n**0.5, "drawn anew each time"
    torch.manual_seed(0)
    again = noise(torch.zeros(16, 3, 32, 31).to(memory_format=torch.channels_last))
    assert torch.equal(again, first), "the same numbers in every memory format"
    assert torch.equal(again, first) and not noise.eval()(x).eq(first).any(), "in evaluation too"
    assert not first.requires_grad and not list(noise.parameters()) and not noise.state_dict()


@pytest.mark.parametrize("args", [(0, 4, 1), (4, 0, 1), (4, 4, 3), (4, 4, 0)])
def test_sizes_that_no_operation_has(args: tuple[int, int, int]) -> None:
    with pytest.raises(SupernetError, match="channels must be >= 1, stride 1 or 2"):
        operation("sep_conv_3x3", *args)


def test_an_unknown_operation_names_the_nearest() -> None:
    with pytest.raises(SupernetError, match="did you mean 'sep_conv_3x3'"):
        operation("sep_con_3x3", 4, 4)
