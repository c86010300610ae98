"""`wrap`: existing networks as spaces; the original everywhere is the model bit for bit, mistakes have names."""
# B batch

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

import supernet
from supernet.errors import SupernetError
from supernet.network import Supernet, build_from
from supernet.space import Space
from supernet.space.wrap import bottleneck, depthwise, identity, kernel, operation, width, without, wrap
from supernet.space.wrap.choice import WrappedChoice
from supernet.space.wrap.dry_run import make_example
from tests.support.covering import sampled


@dataclass(frozen=True)
class Case:
    """A network, rules for it, and the number of modules that become choices."""

    make: Callable[[], nn.Module]
    rules: dict[Any, dict[str, Any]]
    choices: int
    size: int = 32


def of_timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=5, **arguments)


def plain_user() -> nn.Module:
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * 15 * 15, 5))


def small_depthwise(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups > 1 and module.kernel_size == (3, 3)


CASES = {
    "resnet10t": Case(
        of_timm("resnet10t", channels=(16, 16, 24, 32)),
        {"layer*.conv2": {"k1": kernel(1), "k5": kernel(5), "separable": depthwise, "skip": identity}},
        4,
    ),
    "resnet18": Case(
        of_timm("resnet18", channels=(16, 16, 24, 32)),
        {
            "layer?.0.conv2": {"sep": operation("sep_conv_3x3"), "thin": bottleneck(0.25)},
            "layer?.1": {"narrow": width(0.5), "skip": identity},
        },
        8,
    ),
    "convnext_atto": Case(
        of_timm("convnext_atto", dims=(8, 16, 24, 32)),
        {"stages.*.conv_dw": {"k3": kernel(3), "k9": kernel(9)}, "stages.0.*.mlp": {"narrow": width(0.5)}},
        14,
    ),
    "mobilenetv3_small_050": Case(
        of_timm("mobilenetv3_small_050"), {"blocks.*.conv_dw": {"k3": kernel(3), "k5": kernel(5)}}, 11, 64
    ),
    "tf_mobilenetv3_small_minimal_100": Case(
        of_timm("tf_mobilenetv3_small_minimal_100"), {"blocks.?.0.conv_dw": {"k5": kernel(5)}}, 5, 64
    ),
    "efficientnet_b0": Case(
        of_timm("efficientnet_b0"),
        {small_depthwise: {"k5": kernel(5)}, "blocks.[1-6].1.se": {"none": identity}},
        12,
    ),
    "vit_tiny": Case(
        of_timm("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, embed_dim=48, num_heads=3),
        {
            "blocks.*.mlp": {"narrow": width(0.5), "none": without},
            "blocks.1.attn": {"none": without},
            "blocks.2.attn.proj": {"thin": bottleneck(0.5)},
        },
        5,
    ),
    "squeezenet1_1 of torchvision": Case(
        lambda: squeezenet1_1(num_classes=5), {"features.*.expand3x3": {"k5": kernel(5)}}, 8, 64
    ),
    "Sequential": Case(
        plain_user,
        {
            "0": {"k5": kernel(5), "mine": lambda conv: nn.Sequential(conv, nn.Tanh())},
            "3": {"max": lambda conv: nn.MaxPool2d(3, conv.stride[0])},
        },
        2,
    ),
}
SMALL = ["resnet10t", "vit_tiny"]


def awake(model: nn.Module) -> nn.Module:
    """Nothing zero, as in a trained network: timm draws the last norm of a block as 0."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
    return model


def wrapped(case: Case) -> tuple[nn.Module, Space, Tensor]:
    model = awake(case.make())
    shape = (3, case.size, case.size)
    return model, wrap(model, case.rules, example=shape), torch.randn(2, *shape)


def original(space: Space) -> Any:
    return space.genotype(dict.fromkeys(space.groups, "original"))


def same_state(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


def output(net: nn.Module, x: Tensor, training: bool) -> Tensor:
    torch.manual_seed(7)
    return net.train(training)(x)


@pytest.mark.parametrize("name", sampled(CASES, 3))
def test_the_original_everywhere_is_the_model_bit_for_bit(name: str) -> None:
    model, space, x = wrapped(CASES[name])
    before = copy.deepcopy(model.state_dict())
    assert len(space.tables) == CASES[name].choices and {table.columns[0] for table in space.tables} == {"original"}
    net = Supernet(space, seed=0)
    net.activate(original(space))
    assert torch.equal(output(net, x, False), output(model, x, False)), "activated, nothing is even rounded"
    for plain in (net.discretize(original(space))[0], build_from(space, original(space), seed=1)):
        assert type(plain) is type(model) and same_state(plain, model)
        assert [(key, type(m)) for key, m in plain.named_modules()] == [(k, type(m)) for k, m in model.named_modules()]
        assert torch.equal(output(plain, x, False), output(model, x, False))
        twin = copy.deepcopy(model)
        assert torch.equal(output(plain, x, True), output(twin, x, True))
        assert same_state(plain, twin), "running statistics too"
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()), "the model stays as it is"


@pytest.mark.parametrize("name", CASES)
def test_other_options_learn_and_become_a_plain_network(name: str) -> None:
    _, space, x = wrapped(CASES[name])
    net = Supernet(space, seed=0)
    awake(net.body)  # copies of the original are equal functions at the start, and alphas between equals have no slope
    output(net, x, True).square().sum().backward()
    assert all(alpha.grad is not None and alpha.grad.abs().min() > 0 for alpha in net.alphas())
    others = {path: list(decision.options)[-1] for path, decision in space.groups.items()}
    plain, genotype = net.discretize(space.genotype(others))
    assert not [m for m in plain.modules() if isinstance(m, WrappedChoice)]
    net.activate(genotype)
    torch.testing.assert_close(output(plain, x, False), output(net, x, False))
    assert not torch.equal(output(plain, x, False), output(net.discretize(original(space))[0], x, False))
    again = Supernet(space, seed=3)
    again.load_state_dict(net.state_dict())
    again.activate(genotype)
    assert torch.equal(output(again, x, False), output(net, x, False))
    fresh = build_from(space, genotype, seed=5)
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(output(fresh, x, False), output(plain, x, False))


@pytest.mark.parametrize("name", SMALL)
def test_a_search_and_a_retraining(name: str) -> None:
    case = CASES[name]
    space = wrap(awake(case.make()), case.rules)
    assert space.name == {"vit_tiny": "vit_tiny_patch16_224"}.get(name, name)
    data = np.random.default_rng(0)
    train = data.standard_normal((8, 3, 32, 32)).astype("float32"), data.permutation(8) % 5
    settings = {"epochs": 1, "batch_size": 2}
    found = supernet.search(space, train, train, alphas={"lr": 0.1}, **settings)
    assert found.done and found.genotype.space == space.name
    trained = supernet.retrain(found, train, train, **settings)
    assert type(trained.model) is type(case.make()) and trained.done


def test_the_seed_draws_what_is_new() -> None:
    """And only that: copies of the original are the same in all."""
    space = wrap(plain_user(), {"0": {"sep": operation("sep_conv_3x3"), "k5": kernel(5)}}, example=(3, 32, 32))
    one, same, other = (Supernet(space, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    differ = {key for key in one if not torch.equal(one[key], other[key]) and not key.startswith("alpha")}
    assert differ and all(".sep." in key for key in differ)


def test_functions_are_handed_a_copy_and_their_modules_follow_the_original() -> None:
    """Its type and mode; what a function does to its copy does not reach the original."""

    def emptied(conv: nn.Module) -> nn.Module:
        assert isinstance(conv, nn.Conv2d)
        conv.weight.data.zero_()
        return nn.Sequential(nn.Conv2d(3, 6, 1), nn.Dropout())

    model = plain_user().double().eval()
    space = wrap(model, {"0": {"mine": emptied}}, example=(3, 32, 32))
    net = Supernet(space, seed=0)
    new = net.body.net[0].options["mine"]
    assert not any(m.training for m in new.modules()) and all(p.dtype == torch.float64 for p in new.parameters())
    assert same_state(net.discretize(original(space))[0], model)


def test_a_head_of_another_size_is_refused_before_training() -> None:
    space = wrap(timm.create_model("resnet10t", num_classes=7), CASES["resnet10t"].rules, example=(3, 32, 32))
    images = np.zeros((8, 3, 32, 32), "float32")
    with pytest.raises(SupernetError, match=r"outputs have the shape \(2, 7\); the task needs 4"):
        supernet.search(space, (images, np.arange(8) % 4), epochs=1, batch_size=2)
    with pytest.raises(SupernetError, match=r"cannot take samples of the shape \(1, 32, 32\)"):
        supernet.search(space, (images[:, :1], np.arange(8) % 7), epochs=1, batch_size=2)


class Reader(nn.Module):
    """Reads what it likes of `conv`, and calls it once, twice, or under another name."""

    def __init__(self, reads: str = "") -> None:
        super().__init__()
        self.reads = reads
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.tied = self.conv if reads == "tied" else nn.Identity()
        self.act = nn.Dropout(inplace=True) if reads in ("drop", "behind") else nn.ReLU(inplace=reads == "act")
        self.pair = nn.Sequential(nn.Identity(), nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        if self.reads == "functional":
            return nn.functional.conv2d(x, self.conv.weight, padding=1)
        if self.reads == "type":
            x = x + isinstance(self.conv, nn.Conv2d)
        elif self.reads == "parts":
            x = self.pair[0](x)
        elif self.reads == "aside" and not self.training:
            return x
        elif self.reads not in ("", "tied", "act", "later", "drop", "behind", "aside"):
            x = x + float(torch.as_tensor(getattr(self.conv, self.reads)).sum())
        y = self.conv(x)
        if self.reads == "later":
            y.relu_()
        return self.tied(self.act(y)) + x


def test_plain_attributes_are_found_in_every_option() -> None:
    space = wrap(Reader("out_channels"), {"conv": {"skip": identity, "k5": kernel(5)}}, example=(4, 8, 8))
    net, x = Supernet(space, seed=0), torch.randn(1, 4, 8, 8)
    for genotype in space.points():
        net.activate(genotype)
        torch.testing.assert_close(net.discretize(genotype)[0](x), net(x))
    assert net(x).shape == x.shape


def test_a_module_under_two_names_is_one_choice() -> None:
    space = wrap(Reader("tied"), {"tied": {"skip": identity}}, example=(4, 8, 8))
    assert [table.name for table in space.tables] == ["conv"]
    net = Supernet(space, seed=0)
    for option in ("original", "skip"):
        plain, _ = net.discretize(space.genotype({"conv": option}))
        assert plain.conv is plain.tied


READS = {
    "functional": ("conv", r"'conv' does not run on the example: .*reads its weights"),
    "weight": ("conv", r"'conv': the code around it reads \.weight, a Parameter"),
    "kernel_size": ("conv", r"reads \.kernel_size, which is \(3, 3\) for the original and \(5, 5\) for option 'k5'"),
    "type": ("conv", "computes something else .* around conv depends on the type"),
    "parts": ("pair", "'pair' is taken apart by the code around it"),
    "act": ("act", "'act', option 'original' works in place on its input"),
    "drop": ("act", "'act', option 'original' works in place on its input"),
    "behind": ("conv", "'conv', option 'bare' gives its input itself, and the layer behind it works in place"),
    "aside": ("conv", "'conv' does not run on the example"),
    "later": ("conv", "'conv', option 'bare' gives its input itself, and the layer behind it works in place"),
}


@pytest.mark.parametrize("reads", READS)
def test_what_no_alternative_could_serve_is_refused_by_name(reads: str) -> None:
    module, message = READS[reads]
    rules = {module: {"k5": kernel(5), "bare": nn.Identity} if module == "conv" else {"skip": identity}}
    with pytest.raises(SupernetError, match=message):
        wrap(Reader(reads), rules, example=(4, 8, 8))


class Noisy(nn.Module):
    """Draws numbers, in evaluation too, and takes no batch of one in training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).mean((2, 3)))
        return y + torch.rand_like(y)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_dry_run_draws_nothing_of_the_users(batch: int) -> None:
    model, x, before = Noisy(), torch.zeros(batch, 4, 8, 8), torch.get_rng_state()
    wrap(model, {"conv": {"skip": identity}}, example=x)
    assert torch.equal(torch.get_rng_state(), before)


class Tuple(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def broken(conv: nn.Module) -> nn.Module:
    raise KeyError("nothing here")


MISTAKES: dict[str, tuple[Any, str]] = {
    "no match": ({"layer*.conv9": {"k": kernel(5)}}, r"'layer\*\.conv9' matches no module; nearest .*layer\d\.0\.conv"),
    "no predicate match": ({(lambda n, m: False): {"k": kernel(5)}}, "matches no module; it is called with"),
    "twice": (
        {"layer1.0.conv1": {"k": kernel(5)}, "*.conv1": {"k": kernel(5)}},
        r"rules 'layer1.0.conv1' and '\*.conv1' both match module 'layer1.0.conv1'",
    ),
    "inside": (
        {"layer1.0": {"s": identity}, "layer1.*.conv2": {"k": kernel(5)}},
        r"'layer1.\*.conv2' matches 'layer1.0.conv2', which is inside 'layer1.0', matched by 'layer1.0'",
    ),
    "inside itself": ({"layer1.*": {"s": identity}}, r"'layer1.0.conv1', which is inside 'layer1.0'"),
    "shape": (
        {"layer2.0.conv1": {"skip": identity}},
        r"'layer2.0.conv1', option 'skip' gives \[2, 64, 8, 8\] for an input of \[2, 64, 8, 8\]; the original gives "
        r"\[2, 128, 4, 4\]",
    ),
    "name": ({"fc": {"half": identity}}, "'half' is a name that nn.Module uses"),
    "fails": (
        {"layer1.0.conv2": {"c": lambda conv: nn.Conv2d(5, 64, 1)}},
        r"'layer1.0.conv2', option 'c' fails on an input of \[2, 64, 8, 8\]: RuntimeError: .*5 channels",
    ),
    "two tensors": ({"layer1.0.conv2": {"t": lambda conv: Tuple()}}, "option 't' gives tuple"),
    "no module": ({"fc": {"n": lambda fc: 3}}, "module 'fc', option 'n': the function gives int"),
    "raises": ({"fc": {"n": broken}}, "module 'fc', option 'n': KeyError: 'nothing here'"),
    "same": (
        {"fc": {"n": lambda fc: nn.Linear(512, 5)}},
        "module 'fc': Choice options 'original' and 'n' build identical modules; options must differ in more than",
    ),
    "idle": ({"layer1.0.conv?": {"k3": kernel(3)}}, "leaves 'layer1.0.conv1' and whatever else it matches without"),
    "no function": ({"fc": {"n": nn.ReLU()}}, "give a function of the original module .* not ReLU"),
    "no options": ({"fc": {}}, "rule 'fc' needs named alternatives"),
    "reserved": ({"fc": {"original": identity}}, "'original' names the module itself"),
    "no rules": ({}, "wrap takes rules"),
    "container": ({"layer1.0.bn1": {"k": kernel(5)}}, "option 'k': kernel\\(5\\) takes an nn.Conv2d, not BatchNorm2d"),
    "odd": ({"layer1.0.conv1": {"k": kernel(4)}}, r"kernel\(4\) for a kernel of \(3, 3\): the sizes must differ by an"),
    "width": ({"layer2.0": {"w": width(0.5)}}, r"width\(0.5\) takes a module with two .*; this has 3"),
}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return timm.create_model("resnet10t", num_classes=5)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake: str, resnet: nn.Module) -> None:
    rules, message = MISTAKES[mistake]
    with pytest.raises(SupernetError, match=message) as caught:
        wrap(resnet, rules, example=(3, 32, 32))
    assert "\n" not in str(caught.value)


FIRST = {"0": {"separable": depthwise}}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrap(nn.ReLU, {"a": {"s": identity}}), "wrap takes a network"),
        (lambda: wrap(plain_user(), FIRST), r"cannot tell what Sequential takes: give example="),
        (lambda: wrap(plain_user(), FIRST, example=(3, -1)), "must be the shape of one input"),
        (lambda: wrap(plain_user(), FIRST, example=32), "must be the shape of one input"),  # type: ignore[arg-type]
        (
            lambda: wrap(plain_user(), FIRST, example=(3, 9, 9)),
            r"of shape \(2, 3, 9, 9\); give example=",
        ),
        (lambda: wrap(nn.Sequential(supernet.Choice([nn.ReLU, nn.Tanh])), FIRST), "has choices already"),
        (lambda: kernel(0), r"kernel\(0\)"),
        (lambda: width(1.0), r"width\(1.0\): the ratio is a number in \(0, 1\)"),
        (lambda: bottleneck("x"), r"bottleneck\('x'\)"),  # type: ignore[arg-type]
        (lambda: operation("sep_con_3x3"), "did you mean 'sep_conv_3x3'"),
    ],
)
def test_more_mistakes(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        call()


def test_the_size_that_timm_notes_is_the_example() -> None:
    assert make_example(CASES["vit_tiny"].make(), None).shape == (2, 3, 32, 32)
    assert make_example(of_timm("resnet10t", in_chans=1)(), None).shape == (2, 1, 176, 176)
    assert make_example(plain_user().double(), (3, 32, 32)).dtype == torch.float64
