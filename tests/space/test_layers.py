"""Layers with undecided arguments against the sum of stock layers: outputs and every gradient, in float64."""
# B batch, C channels, V joint values

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from supernet import (
    Activation,
    Attention,
    Choice,
    Conv2d,
    Linear,
    Norm,
    Repeat,
    Resize,
    Supernet,
    SupernetError,
    rounded,
)
from supernet.space.layers import Elastic
from supernet.space.layers.activation import ACTIVATIONS
from supernet.space.space import Space

Layer = Callable[[], Elastic]


def images(channels: int) -> Tensor:
    return torch.randn(3, channels, 7, 7, dtype=torch.float64)


def tokens(channels: int) -> Tensor:
    return torch.randn(2, 5, channels, dtype=torch.float64)


def depthwise() -> Conv2d:
    width = Choice([2, 3, 5])
    return Conv2d(width, width, Choice([3, 5]), groups=width)


def same_width(**settings: Any) -> Conv2d:
    width = Choice([2, 4])
    return Conv2d(width, width * 2, 3, **settings)


def multiplied(*widths: int, out: int | None = None) -> Conv2d:
    """Depthwise: several outputs for each input channel, as many as the decided numbers give."""
    width = Choice(list(widths))
    return Conv2d(width, out or width, 3, groups=width)


def multiplier() -> Conv2d:
    width = Choice([2, 4])
    return Conv2d(width, width * Choice([1, 2]), Choice([1, 3]), groups=width)


def inner_width() -> Norm:
    return Norm(Choice([2, 4]), Choice(["batch", "layer", "group", "none"]))


# name -> (layer, input); each has at least one undecided argument
LAYERS: dict[str, tuple[Layer, Tensor]] = {
    "kernel": (lambda: Conv2d(3, 4, Choice([1, 3, 5])), images(3)),
    "kernel and stride 2": (lambda: Conv2d(3, 4, Choice([1, 3, 5]), stride=2, bias=False), images(3)),
    "kernel, dilated": (lambda: Conv2d(3, 4, Choice([3, 5]), dilation=2), images(3)),
    "dilation": (lambda: Conv2d(3, 4, 3, dilation=Choice([1, 2])), images(3)),
    "stride": (lambda: Conv2d(3, 4, 3, stride=Choice([1, 2])), images(3)),
    "groups that stay": (lambda: Conv2d(4, 6, Choice([1, 3]), groups=2), images(4)),
    "channels": (lambda: Conv2d(Choice([2, 3]), Choice([2, 4, 6]), Choice([1, 3])), images(3)),
    "one choice in and out": (same_width, images(4)),
    "depthwise": (depthwise, images(5)),
    "depthwise, one multiplier a width": (lambda: multiplied(2, 4, out=4), images(4)),
    "depthwise from one channel": (lambda: multiplied(1, 4), images(4)),
    "depthwise, undecided multiplier": (multiplier, images(4)),
    "groups": (lambda: Conv2d(4, 8, Choice([1, 3]), groups=Choice([1, 2, 4])), images(4)),
    "independent": (lambda: Conv2d(Choice([2, 3]), Choice([2, 4]), Choice([1, 3]), sharing="independent"), images(3)),
    "initialisation": (lambda: Conv2d(3, Choice([2, 4]), 3, init=Choice(["kaiming_normal", "orthogonal"])), images(3)),
    "linear": (lambda: Linear(Choice([3, 6]), Choice([2, 5])), tokens(6)),
    "linear, independent": (lambda: Linear(Choice([3, 6]), 4, bias=False, sharing="independent"), tokens(6)),
    "derived": (lambda: Linear(6, rounded(Choice([2, 4]) * 3 + 1, 2)), tokens(6)),
    "norm width": (lambda: Norm(Choice([2, 3, 4])), images(4)),
    "norm kind and width": (inner_width, images(4)),
    "layer norm of tokens": (lambda: Norm(Choice([2, 4]), "layer", axis=-1), tokens(4)),
    "no affine": (lambda: Norm(Choice([2, 4]), affine=False), images(4)),
    "activation": (lambda: Activation(Choice(["relu", "gelu", "silu", "hardswish", "none"])), images(3)),
    "heads": (lambda: Attention(6, Choice([1, 2, 3]), 2), tokens(6)),
    "heads, their size, width": (lambda: Attention(Choice([4, 6]), Choice([1, 2]), Choice([2, 3])), tokens(6)),
    "depth": (lambda: Repeat(lambda i: nn.Conv2d(3, 3, 3, padding=1), Choice(range(4))), images(3)),
    "depth, derived": (lambda: Repeat(lambda: nn.Conv2d(3, 3, 1), Choice([1, 2]) // 2 + 1), images(3)),
    "resolution": (lambda: Resize(Choice([4, 6, 7])), images(3)),
}


@pytest.fixture(params=LAYERS, name="case")
def case_(request: pytest.FixtureRequest) -> tuple[Elastic, Tensor]:
    torch.manual_seed(0)
    make, x = LAYERS[request.param]
    return make().double(), x.clone()


def mix(layer: Elastic, *, only: tuple[int, ...] | None = None) -> list[Tensor]:
    """Give each choice weights: random ones, or a single option each."""
    weights = []
    for place, choice in enumerate(layer.choices):
        size = len(choice.names)
        p = torch.softmax(torch.randn(size, dtype=torch.float64), 0)
        mask = [True] * size if only is None else [i == only[place] for i in range(size)]
        p = (p if only is None else torch.tensor(mask, dtype=torch.float64)).requires_grad_()
        choice.mix(p, mask)
        weights.append(p)
    return weights


def points(layer: Elastic) -> Iterator[tuple[int, ...]]:
    yield from product(*(range(len(choice.names)) for choice in layer.choices))


def stock(layer: Elastic, point: tuple[int, ...]) -> nn.Module:
    return layer.plain(dict(zip(layer.choices, point, strict=True)), fresh=False)


def first_channels(layer: Elastic, point: tuple[int, ...], x: Tensor) -> Tensor:
    setting = layer.setting(point)
    width = next((setting[k] for k in ("in_channels", "in_features", "channels", "dim") if k in setting), None)
    axis = 1 if x.dim() == 4 else -1
    return x if width is None else x.narrow(axis, 0, width)


def brought_together(outputs: list[Tensor], images: bool) -> list[Tensor]:
    """To the smallest image and the largest width, as the mixture is defined."""
    axis = 1 if images else -1
    width = max(y.shape[axis] for y in outputs)
    if images:
        size = min(y.shape[-1] for y in outputs)
        outputs = [F.adaptive_avg_pool2d(y, size) for y in outputs]
    grown = [y if images else y.transpose(1, -1) for y in outputs]
    grown = [torch.cat([y, y.new_zeros(y.shape[0], width - y.shape[1], *y.shape[2:])], 1) for y in grown]
    return grown if images else [y.transpose(1, -1) for y in grown]


def test_a_mixture_is_the_sum_of_stock_layers(case: tuple[Elastic, Tensor]) -> None:
    """Outputs and the gradients of the input and of each mixing weight; training mode, as in a search."""
    layer, x = case
    weights = mix(layer)
    x = x.requires_grad_()
    own = [w.detach().clone().requires_grad_() for w in weights]
    again = x.detach().clone().requires_grad_()
    parts = []
    for point in points(layer):
        p = torch.stack([w[i] for w, i in zip(own, point, strict=True)]).prod()
        y = stock(layer, point)(first_channels(layer, point, again))
        if isinstance(layer, Resize) and y.shape[-1] < 7:
            y = F.interpolate(y, (7, 7), mode="bilinear", antialias=True)
        parts.append((p, y))
    outputs = brought_together([y for _, y in parts], x.dim() == 4)
    expected = sum(p * y for (p, _), y in zip(parts, outputs, strict=True))
    got = layer(x)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-10
    probe = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * probe).sum(), [x, *weights]),
        torch.autograd.grad((expected * probe).sum(), [again, *own]),
        strict=True,
    ):
        assert (a - b).abs().max() <= 1e-10 * max(1, float(b.abs().max()))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_can_be_differentiated_twice(name: str) -> None:
    """Exact second-order methods need it."""
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(Activation(name)(x).square().sum(), x, create_graph=True)
    torch.autograd.grad(first.square().sum(), x)


def test_what_is_frozen_and_set_stays_so() -> None:
    width = Choice([2, 4])
    conv, norm = Conv2d(4, width, 3), Norm(width)
    conv.requires_grad_(False)
    norm.norms["batch"].eps, norm.norms["batch"].momentum = 0.5, 0.3  # type: ignore[assignment]
    plain = [layer.plain({width: 0}, fresh=False) for layer in (conv, norm)]
    assert [p.requires_grad for layer in plain for p in layer.parameters()] == [False, False, True, True]
    assert (plain[1].eps, plain[1].momentum) == (0.5, 0.3)


def test_the_place_of_a_block_is_no_argument_with_a_default() -> None:
    def block(c: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(c, c, 3, stride, padding=1)

    row = Repeat(partial(block, 4), 3)
    assert [b.stride for _, b in row.blocks()] == [(1, 1)] * 3
    assert [b.inplace for _, b in Repeat(nn.ReLU, 2).blocks()] == [False, False]


def test_images_in_half_precision_are_resized() -> None:
    assert Resize(4)(torch.rand(1, 3, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_one_path_is_the_stock_layer(case: tuple[Elastic, Tensor]) -> None:
    """A decided layer computes what torch's layer with the slice of its weights does, in both modes, and no more."""
    layer, x = case
    for point in points(layer):
        mix(layer, only=point)
        for training in (True, False):
            plain = stock(layer, point).train(training)
            got = layer.train(training)(first_channels(layer, point, x))
            assert got.shape == (expected := plain(first_channels(layer, point, x))).shape
            assert (got - expected).abs().max() <= 1e-12
        assert all(isinstance(p, nn.Parameter) for p in plain.parameters())
        shared = {p.data_ptr() for p in layer.parameters()}
        assert isinstance(layer, Repeat) or not shared & {p.data_ptr() for p in plain.parameters()}


def test_weight_gradients_are_those_of_the_slices() -> None:
    """The shared weight's gradient is the sum of its slices' gradients: first channels, centre of the kernel."""
    torch.manual_seed(0)
    kernel, c_in, c_out = Choice([1, 3, 5]), Choice([2, 3]), Choice([2, 4])
    layer = Conv2d(c_in, c_out, kernel).double()
    x = images(3)
    mix(layer)
    got = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    total = torch.zeros_like(layer(x))
    for point in points(layer):
        v = layer.setting(point)
        k, i, o = v["kernel_size"], v["in_channels"], v["out_channels"]
        start = (5 - k) // 2
        weight = layer.weight[:o, :i, start : start + k, start : start + k]  # type: ignore[index]
        conv = nn.Conv2d(i, o, k, padding=k // 2).double()
        y = functional_call(conv, {"weight": weight, "bias": layer.bias[:o]}, (x[:, :i],))  # type: ignore[index]
        p = torch.stack([c._mixing[0][n] for c, n in zip(layer.choices, point, strict=True)]).prod()  # type: ignore[index]
        total = total + p * F.pad(y, [0, 0, 0, 0, 0, 4 - o])
    expected = torch.autograd.grad(total.square().sum(), list(layer.parameters()))
    for a, b in zip(got, expected, strict=True):
        assert (a - b).abs().max() <= 1e-10 * float(b.abs().max())
    assert got[0].abs().min() > 0, "every weight of the widest layer learns"


def test_a_mixture_of_linear_layers_is_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args: calls.append(1) or real(*args))
    layer = Conv2d(Choice([2, 3]), Choice([2, 4]), Choice([1, 3, 5]), sharing="independent").double()
    mix(layer)
    layer(images(3))
    assert len(calls) == 1


def test_weights_start_as_those_of_torch() -> None:
    torch.manual_seed(0)
    ours, torchs = Conv2d(16, Choice([32, 64]), 3), nn.Conv2d(16, 64, 3)
    for a, b in ((ours.weight, torchs.weight), (ours.bias, torchs.bias)):
        ratio, largest = (a.std() / b.std()).detach(), a.detach().abs().max()  # type: ignore[union-attr, operator]
        assert abs(float(ratio) - 1) < 0.2 and float(largest) <= (16 * 9) ** -0.5


def test_independent_weights_do_not_share() -> None:
    layer = Conv2d(3, 4, Choice([1, 3]), bias=False, sharing="independent")
    assert [tuple(p.shape) for p in layer.parameters()] == [(4, 3, 1, 1), (4, 3, 3, 3)]
    assert sum(p.numel() for p in Conv2d(3, 4, Choice([1, 3]), bias=False).parameters()) == 4 * 3 * 9


def test_a_fresh_layer_starts_as_its_own_size_asks() -> None:
    """Retraining draws weights for the decided size: a slice of a wide layer's weights would be too small."""
    torch.manual_seed(0)
    layer = Linear(Choice([4, 4096]), 512)
    plain: Any = layer.plain({layer.choices[0]: 0}, fresh=True)
    bound = 4**-0.5
    assert 0.9 * bound < plain.weight.abs().max() <= bound
    kept: Any = layer.plain({layer.choices[0]: 0}, fresh=False)
    assert torch.equal(kept.weight, layer.weight[:, :4])  # type: ignore[index]


def test_layers_without_a_choice_are_ordinary_layers() -> None:
    x = images(3)
    net = nn.Sequential(Conv2d(3, 4, 3), Norm(4), Activation("relu"), Repeat(lambda: nn.Conv2d(4, 4, 1), 2)).double()
    assert net(x).shape == (3, 4, 7, 7)


def test_one_choice_in_several_layers_moves_together() -> None:
    class Net(nn.Module):
        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.width = Choice([2, 4, 8])
            self.stem, self.norm = Conv2d(3, self.width, 3), Norm(self.width)
            self.head = Linear(self.width, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))

    net = Supernet(Space(Net), seed=0, num_classes=5).double()
    assert list(net.alpha) == ["width"] and net(images(3)).shape == (3, 5)
    plain, genotype = net.discretize(net.space.genotype({"width": "4"}))
    assert (plain.stem.out_channels, plain.norm.num_features, plain.head.in_features) == (4, 4, 4)
    assert plain.width == 4 and genotype.decisions == {"width": "4"}
    assert not any(isinstance(m, Elastic | Choice) for m in plain.modules())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(3, 4, Choice([3, 4])), r"kernels \[3, 4\] must be odd"),
        (lambda: Conv2d(3, 4, Choice([3, 5]), padding=1), "padding=1 with an undecided kernel"),
        (lambda: Conv2d(Choice([4, 8]), 8, 3, groups=2), "groups=2 with undecided channels"),
        (lambda: Conv2d(3, Choice([2, 3]), 3, groups=3), "groups=3 must divide"),
        (lambda: Conv2d(3, Choice([0, 3]), 3), "out_channels=0 must be a whole number in 1"),
        (lambda: Conv2d(3, Choice(["a", "b"]), 3), "out_channels='a' must be a whole number"),
        (lambda: Conv2d("a", 8, 3), "in_channels='a' must be a whole number"),
        (lambda: Conv2d(3, 4, 3, stride=Choice([0, 1])), "stride=0 must be a whole number in 1"),
        (lambda: Linear(3.5, 4), "in_features=3.5 must be a whole number"),
        (lambda: Activation([1]), r"unknown activation \[1\]"),
        (lambda: Attention(8, True), "heads=True must be a whole number"),
        (lambda: Repeat(nn.ReLU(), 2), "takes a function that makes a block"),
        (lambda: Repeat(lambda a, b: a, 3), "must take no argument, or the place"),
        (lambda: Norm(Choice([4, 8]))(torch.zeros(5, 8)), "axis=1 is for images"),
        (lambda: Conv2d(3, 4, 3, sharing="both"), "unknown sharing 'both'"),
        (lambda: Conv2d(3, 4, 3, init="kaming_normal"), "did you mean 'kaiming_normal'"),
        (lambda: Norm(4, Choice(["batch", "bach"])), "unknown kind of Norm 'bach'"),
        (lambda: Norm(4, axis=-1), "kind='batch' is for images"),
        (lambda: Norm(4, axis=2), "axis=2 must be 1"),
        (lambda: Norm(Choice([0, 4])), "channels=0 must be a whole number"),
        (lambda: Activation(Choice(["relu", "glu"])), "unknown activation 'glu'"),
        (lambda: Attention(8, Choice([0, 1])), "heads=0 must be a whole number"),
        (lambda: Repeat(lambda: nn.Identity(), Choice([-1, 2])), r"count=-1 must be a whole number in 0\.\.1000"),
        (lambda: Repeat([nn.Identity()], Choice([1, 2])), "needs 2 blocks"),
        (lambda: Resize(Choice([0, 4])), "size=0 must be a whole number"),
        (lambda: Resize(True), "size=True must be a whole number"),
        (lambda: Linear(*[Choice(range(1, 900)) for _ in range(2)]), "over 4096 joint values"),
        (lambda: Conv2d(3, Choice([2, 4]), 3)(images(3)), "undecided choices"),
    ],
)
def test_mistakes_are_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_layer_that_was_not_given_the_choice_says_so() -> None:
    """A wider input would be cut in silence, a narrower one fail."""
    layer = Linear(Choice([4, 8]), 3).double()
    mix(layer)
    for width in (4, 16):
        with pytest.raises(SupernetError, match=f"takes 8 channels, but its input has {width}: give it the choice"):
            layer(tokens(width))
    mix(layer, only=(0,))
    with pytest.raises(SupernetError, match="takes 4 channels, but its input has 8"):
        layer(tokens(8))
