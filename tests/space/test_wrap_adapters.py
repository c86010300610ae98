"""Ready alternatives of `wrap` against oracles in float64: equal to the original, a slice, or the closest to it."""
# I input channels, O output channels

import copy
from typing import Any

import pytest
import torch
from timm.layers import Conv2dSame, Mlp
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.errors import SupernetError
from supernet.space.wrap import bottleneck, depthwise, identity, kernel, operation, width, without

CONVOLUTIONS: dict[str, tuple[type[nn.Conv2d], dict[str, Any]]] = {
    "plain": (nn.Conv2d, {"padding": 1}),
    "strided": (nn.Conv2d, {"padding": 1, "stride": 2, "bias": False}),
    "dilated": (nn.Conv2d, {"padding": 2, "dilation": 2}),
    "grouped": (nn.Conv2d, {"padding": 1, "groups": 2}),
    "depthwise": (nn.Conv2d, {"padding": 1, "groups": 4}),
    "unpadded": (nn.Conv2d, {"stride": 2}),
    "same": (nn.Conv2d, {"padding": "same"}),
    "valid": (nn.Conv2d, {"padding": "valid"}),
    "same of timm": (Conv2dSame, {"stride": 2}),
}


def made(adapter: Any, original: nn.Module) -> nn.Module:
    """The alternative, from a copy, as `wrap` hands it over."""
    return adapter(copy.deepcopy(original)).to(torch.float64)


def example(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("size", [5, 7])
def test_a_grown_kernel_is_the_same_function(name: str, size: int) -> None:
    kind, settings = CONVOLUTIONS[name]
    conv = kind(4, 8, 3, **settings).double()
    grown = made(kernel(size), conv)
    assert type(grown) is kind and grown.weight.shape == (8, conv.weight.shape[1], size, size)
    for side in (12, 13):
        x = example(2, 4, side, side)
        torch.testing.assert_close(grown(x), conv(x))
    conv.weight.data.zero_()
    assert grown.weight.abs().sum() > 0, "it has weights of its own"


def test_a_grown_kernel_may_grow_one_axis() -> None:
    conv, x = nn.Conv2d(2, 3, (1, 5), padding=(0, 2)).double(), example(1, 2, 9, 9)
    torch.testing.assert_close(made(kernel(5), conv)(x), conv(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_smaller_kernel_is_the_centre(stride: int) -> None:
    conv, x = nn.Conv2d(3, 4, 5, stride, padding=2).double(), example(2, 3, 11, 11)
    torch.testing.assert_close(made(kernel(1), conv)(x), F.conv2d(x, conv.weight[:, :, 2:3, 2:3], conv.bias, stride))
    expected = F.conv2d(x, conv.weight[:, :, 1:4, 1:4], conv.bias, stride, padding=1)
    torch.testing.assert_close(made(kernel(3), conv)(x), expected)


def test_a_kernel_of_the_same_size_is_left_out() -> None:
    assert kernel(3)(nn.Conv2d(2, 2, 3)) is None
    assert depthwise(nn.Conv2d(4, 4, 3, groups=4)) is None and depthwise(nn.Conv2d(4, 6, 1)) is None


@pytest.mark.parametrize(
    ("adapter", "module", "message"),
    [
        (kernel(5), nn.Linear(2, 2), "kernel.5. takes an nn.Conv2d, not Linear"),
        (kernel(2), nn.Conv2d(2, 2, 3), "must differ by an even number"),
        (kernel(1), nn.Conv2d(2, 2, 3), "padded by .0, 0.: the output would grow"),
        (kernel(5), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding_mode='reflect'"),
        (depthwise, nn.Conv2d(4, 4, 3, groups=2), "ungrouped convolution, not one of 2 groups"),
        (bottleneck(0.5), nn.Conv2d(4, 4, 3, groups=2), "ungrouped convolution, not one of 2 groups"),
        (bottleneck(0.5), nn.ReLU(), r"bottleneck\(0.5\) takes an nn.Linear or nn.Conv2d, not ReLU"),
        (operation("sep_conv_3x3"), nn.Conv2d(2, 2, 3, stride=(1, 2)), "one stride for both axes"),
        (operation("sep_conv_3x3"), nn.Conv2d(2, 2, 3, stride=4), "stride 1 or 2"),
        (width(0.5), nn.Sequential(nn.Linear(2, 4), nn.Linear(3, 2)), "must read what the first gives"),
        (width(0.5), nn.Sequential(nn.Linear(2, 4), nn.PReLU(), nn.Linear(4, 2)), "cannot cut the PReLU"),
    ],
)
def test_what_does_not_fit_is_refused(adapter: Any, module: nn.Module, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        adapter(module)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_is_the_closest_separable_convolution(stride: int) -> None:
    """The squared error of each input channel is that of a matrix without its strongest singular value."""
    conv = nn.Conv2d(3, 5, 3, stride, padding=1).double()
    separable = made(depthwise, conv)
    along, across = separable[0].weight, separable[1].weight
    product_OIK = across[:, :, 0] * along[:, 0].flatten(1)
    error_I = (product_OIK - conv.weight.flatten(2)).square().sum((0, 2))
    rest_I = torch.linalg.svdvals(conv.weight.flatten(2).transpose(0, 1))[:, 1:].square().sum(1)
    torch.testing.assert_close(error_I, rest_I)
    with torch.no_grad():
        conv.weight.copy_(product_OIK.view_as(conv.weight))
    x = example(2, 3, 9, 9)
    torch.testing.assert_close(separable(x), conv(x), msg="it computes the product")
    torch.testing.assert_close(made(depthwise, conv)(x), conv(x), msg="a separable original stays as it is")


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "wide": (nn.Linear(9, 6), (2, 7, 9)),
    "tall": (nn.Linear(4, 10, bias=False), (3, 4)),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 9)),
    "many outputs": (nn.Conv2d(1, 12, 3, bias=False), (2, 1, 6, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_bottleneck_is_the_closest_of_its_rank(name: str) -> None:
    layer, shape = LAYERS[name]
    layer, x = copy.deepcopy(layer).double(), example(*shape)
    torch.testing.assert_close(made(bottleneck(1), layer)(x), layer(x))
    thin = made(bottleneck(0.5), layer)
    rank = thin[0].weight.shape[0]
    assert rank == round(0.5 * min(layer.weight.flatten(1).shape)) and thin[0].bias is None
    product = thin[1].weight.flatten(1) @ thin[0].weight.flatten(1)
    error = (product - layer.weight.flatten(1)).square().sum()
    torch.testing.assert_close(error, torch.linalg.svdvals(layer.weight.flatten(1))[rank:].square().sum())
    with torch.no_grad():
        layer.weight.copy_(product.view_as(layer.weight))
    torch.testing.assert_close(thin(x), layer(x), msg="it computes the product")
    assert all(p.requires_grad for p in thin.parameters())


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.BatchNorm2d(5))


PAIRS: dict[str, tuple[nn.Module, str, tuple[int, ...]]] = {
    "Mlp of timm": (Mlp(6, 8), "fc2", (2, 5, 6)),
    "Sequential": (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)), "3", (2, 6)),
    "convolutions": (convolutions(), "3", (2, 3, 6, 6)),
    "block of timm": (BasicBlock(8, 8), "conv2", (2, 8, 6, 6)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_width_is_the_original_without_the_other_hidden_channels(name: str) -> None:
    module, last, shape = PAIRS[name]
    module, x = copy.deepcopy(module).double().eval(), example(*shape)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    narrow = made(width(0.75), module)
    assert type(narrow) is type(module) and narrow.get_submodule(last).weight.shape[1] == 6
    with torch.no_grad():
        module.get_submodule(last).weight[:, 6:] = 0
    torch.testing.assert_close(narrow(x), module(x))


def test_a_layer_norm_between_is_cut_too() -> None:
    narrow = made(width(0.5), Mlp(6, 8, norm_layer=nn.LayerNorm))
    assert narrow.norm.normalized_shape == (4,) and narrow(example(2, 6)).shape == (2, 6)


def test_identity_and_without_take_what_they_are_handed() -> None:
    x = example(2, 3)
    assert torch.equal(identity(nn.ReLU())(x, None, mask=None), x)
    assert torch.equal(without(nn.ReLU())(x, None, mask=None), torch.zeros(2, 3, dtype=torch.float64))
    y = identity(nn.ReLU())(x)
    y.zero_()
    assert x.abs().sum() > 0, "a layer behind it that works in place does not reach the input"


def test_frozen_weights_stay_frozen_in_their_copies() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1).requires_grad_(False)
    assert not made(kernel(5), conv).weight.requires_grad
    mlp = Mlp(6, 8)
    mlp.fc1.requires_grad_(False)
    narrow = made(width(0.5), mlp)
    assert [p.requires_grad for p in narrow.parameters()] == [False, False, True, True]
