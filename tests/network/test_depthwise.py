"""The depthwise convolution with a backward of its own: the stock layer's values in float64, twice differentiable."""
# B batch, C channels, H height, W width

import pytest
import torch
from torch import Tensor, nn

from supernet.network.executor.depthwise import depthwise, has_quick_form

SIZES = [(8, 8), (7, 10), (1, 2), (5, 3)]


def layer_of(kernel: int, dilation: int, stride: int = 1, channels: int = 3) -> nn.Conv2d:
    return nn.Conv2d(
        channels, channels, kernel, stride, dilation * (kernel // 2), dilation, groups=channels, bias=False
    ).double()


def gradients(layer: nn.Conv2d, y: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return torch.autograd.grad(y, (x, layer.weight), g)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kernel", "dilation", "stride"),
    [(5, 1, 1), (7, 1, 1), (3, 2, 1), (5, 2, 1), (5, 3, 1), (3, 2, 2), (5, 2, 2), (3, 3, 3)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_stock_layer(
    kernel: int, dilation: int, stride: int, size: tuple[int, int], layout: torch.memory_format
) -> None:
    layer = layer_of(kernel, dilation, stride)
    x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    assert has_quick_form(layer, x)
    expected, y = layer(x), depthwise(layer, x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(layer, y, x), gradients(layer, expected, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [(5, 1, 1), (5, 2, 1), (3, 2, 2)])
def test_the_backward_is_differentiable(kernel: int, dilation: int, stride: int) -> None:
    layer = layer_of(kernel, dilation, stride, channels=2)
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def f(x: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(_Quick(layer), {"layer.weight": w}, (x,))

    assert torch.autograd.gradgradcheck(f, (x, layer.weight))


class _Quick(nn.Module):
    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(self.layer, x)


def test_frozen_filters_keep_no_input() -> None:
    layer = layer_of(5, 1).requires_grad_(False)
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        depthwise(layer, x * 2)
    assert not [t for t in kept if t.shape == x.shape]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, padding=2, groups=2, bias=False),
        nn.Conv2d(4, 8, 5, padding=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, (5, 3), padding=(2, 1), groups=4, bias=False),
        nn.Conv2d(4, 4, 4, padding=2, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False, padding_mode="reflect"),
        nn.BatchNorm2d(4),
    ],
    ids=repr,
)
def test_other_layers_are_left_alone(layer: nn.Module) -> None:
    assert not has_quick_form(layer, torch.zeros(1, 4, 6, 6))


def test_mixed_precision_is_left_alone() -> None:
    x = torch.zeros(1, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert not has_quick_form(layer_of(5, 1), x)
    assert has_quick_form(layer_of(5, 1), x)
