"""The zoo's macro spaces: sizes by closed form, relaxed and discrete agree, gradients everywhere, points build."""

import random
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import Supernet, build, build_from
from supernet.space import Genotype, get_space
from supernet.space.choice import Choice
from supernet.space.layers import Elastic
from tests.support.zoo_small import SMALL, small_space

spaces = pytest.mark.parametrize("name", SMALL)
CLASSES = 5


def supernet(name: str) -> Supernet:
    return Supernet(small_space(name), num_classes=CLASSES, seed=0, **SMALL[name][1]).double()


def small(genotype: Genotype, **arguments: Any) -> Any:
    return build(genotype, seed=0, num_classes=CLASSES, **(SMALL[genotype.space][1] | arguments))


def images(batch: int = 4, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, 16, 16, dtype=torch.float64)


def test_sizes_by_closed_form() -> None:
    assert get_space("nas_bench_macro").size == 3**8
    block = 3 * 3 * 2
    assert get_space("mobilenetv3_like").size == (2 * (block**2 + block**3 + block**4)) ** 5
    assert small_space("mobilenetv3_like").size == (2 * (block + block**2)) ** 2
    assert get_space("autoformer_tiny").size == 3 * (4**12 + 4**13 + 4**14)
    assert get_space("timm_resnet_width").size == 3 * 4**4
    assert get_space("timm_resnet_width", backbone="resnet18", sizes=[32]).size == 4**8


@spaces
def test_activated_is_discretised(name: str) -> None:
    torch.manual_seed(1)
    net, x, rng = supernet(name), images(), random.Random(0)
    net(x)  # the running statistics move
    net.eval()
    for _ in range(12):
        genotype = net.space.sample(rng)
        net.activate(genotype)
        plain, _ = net.discretize(genotype)
        assert not [m for m in plain.modules() if isinstance(m, Choice | Elastic)]
        with torch.no_grad():
            found, expected = plain(x), net(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        assert found.shape == (4, CLASSES) and found.std() > 0


@spaces
def test_gradients_reach_every_alpha(name: str) -> None:
    net = supernet(name)
    net(images()).square().sum().backward()
    assert [table for table, alpha in net.alpha.items() if alpha.grad is None or not alpha.grad.abs().min() > 0] == []


@spaces
def test_every_decision_changes_the_function(name: str) -> None:
    """A choice that nothing reads, or that two options fill alike, would make equal networks of different points."""
    torch.manual_seed(2)
    net, x, rng = supernet(name), images(), random.Random(3)
    net(x)
    net.eval()

    def output(genotype: Genotype) -> Tensor:
        net.activate(genotype)
        with torch.no_grad():
            return net(x)

    start = net.space.sample(rng)
    here = output(start)
    for other in net.space.neighbours(start):
        assert not torch.allclose(output(other), here, rtol=0, atol=1e-12), (
            other.decisions.items() - start.decisions.items()
        )


@spaces
def test_samples_build(name: str) -> None:
    _build_many(name, 15, seed=7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@spaces
def test_ten_thousand_samples_build(name: str, seed: int) -> None:
    _build_many(name, 500, seed)


def _build_many(name: str, count: int, seed: int) -> None:
    space, rng, x = small_space(name), random.Random(seed), images(2).float()
    for i in range(count):
        genotype = Genotype.from_json(space.sample(rng).to_json())
        net = build_from(space, genotype, num_classes=CLASSES, **SMALL[name][1])
        if i % 10 == 0:
            assert net.eval()(x).shape == (2, CLASSES)


@spaces
def test_the_same_seed_builds_the_same_network(name: str) -> None:
    genotype = small_space(name).sample(random.Random(1))
    one, other = small(genotype).state_dict(), small(genotype).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())


def test_mobilenet_is_what_the_genotype_says() -> None:
    space = small_space("mobilenetv3_like")
    genotype = next(g for g in map(space.sample, [random.Random(i) for i in range(50)]) if "2" in _counts(g))
    net = small(genotype)
    width = 8
    for stage, blocks in enumerate(net.blocks):
        wide = int(str(genotype.decisions[f"width{stage}"]))
        assert len(blocks) == int(_counts(genotype)[stage])
        for i, block in enumerate(blocks):
            path = f"blocks/{stage}/count/{len(blocks)}/{i}"
            kernel, expansion = (int(str(genotype.decisions[f"{path}/{key}"])) for key in ("kernel", "expansion"))
            (conv, _), _ = block.filter
            assert (conv.kernel_size, conv.groups) == ((kernel, kernel), width * expansion)
            assert conv.stride == ((2, 2) if i == 0 else (1, 1))
            assert isinstance(block.squeeze, nn.Identity) == (genotype.decisions[f"{path}/squeeze"] == "none")
            assert block.project[0].out_channels == wide and (block.residual is None) == (i == 0)
            width = wide
    assert [info["num_chs"] for info in net.feature_info][-1] == width


def _counts(genotype: Genotype) -> list[str]:
    return [str(genotype.decisions[f"blocks/{stage}/count"]) for stage in range(2)]


def test_neighbours_of_another_depth_keep_the_blocks_in_common() -> None:
    space = small_space("mobilenetv3_like")
    genotype = next(g for g in map(space.sample, [random.Random(i) for i in range(50)]) if _counts(g)[0] == "1")
    deeper = [g for g in space.neighbours(genotype) if _counts(g)[0] == "2"]
    assert len(set(deeper)) == len(deeper) == 3 * 3 * 2  # the settings of the second block
    for other in deeper:
        for key in ("kernel", "expansion", "squeeze"):
            assert other.decisions[f"blocks/0/count/2/0/{key}"] == genotype.decisions[f"blocks/0/count/1/0/{key}"]
        assert space.distance(genotype, other) == space.distance(other, genotype) == 1 + 3
        assert genotype in space.neighbours(other), "being neighbours is symmetric"


def test_the_stem_of_mobilenet_and_the_resolutions() -> None:
    genotype = get_space("mobilenetv3_like", widths=[8, 16, 16, 24, 24], depths=[1, 2]).sample(random.Random(0))
    for stem, reductions in (("cifar", [2, 4, 8, 16]), ("imagenet", [4, 8, 16, 32])):
        net: Any = build(genotype, stem=stem, features=16).eval()
        assert [info["reduction"] for info in net.feature_info] == reductions
        maps = net.forward_intermediates(torch.randn(1, 3, 64, 64), intermediates_only=True)
        assert [(m.shape[1], 64 // m.shape[2]) for m in maps] == [
            (info["num_chs"], info["reduction"]) for info in net.feature_info
        ]


def test_autoformer_pools_the_class_token_or_the_others() -> None:
    genotype = small_space("autoformer_tiny").sample(random.Random(0))
    net, x = small(genotype).eval(), images(2).float()
    tokens = net.forward_features(x)
    assert tokens.shape == (2, 1 + (16 // 4) ** 2, net.num_features)
    assert torch.equal(net.forward_head(tokens, pre_logits=True), tokens[:, 0])
    other = small(genotype, global_pool="avg").eval()
    torch.testing.assert_close(other.forward_head(tokens, pre_logits=True), tokens[:, 1:].mean(1))
    assert net.no_weight_decay() == {"stem.1.position"}
    with pytest.raises(SupernetError, match="8x8 patches in a network for 16: set image_size"):
        net(torch.randn(1, 3, 32, 32))


def test_the_widest_network_is_the_backbone_itself() -> None:
    """At full width the timm space starts from the backbone's weights, and so computes what the backbone does."""
    space = get_space("timm_resnet_width", backbone="test_resnet", sizes=[16])
    full = max(space.points(), key=lambda g: sum(int(str(v)) for v in g.decisions.values()))
    torch.manual_seed(4)
    expected = timm.create_model("test_resnet", num_classes=3, zero_init_last=False).eval()
    for make in (lambda: build(full, num_classes=3), lambda: Supernet(space, num_classes=3).discretize(full)[0]):
        torch.manual_seed(4)
        net, x = make().eval(), torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(net(x), expected(x))


def test_narrow_blocks_have_the_first_channels() -> None:
    space = get_space("timm_resnet_width", backbone="test_resnet", sizes=[16])
    narrow = min(space.points(), key=lambda g: sum(int(str(v)) for v in g.decisions.values()))
    torch.manual_seed(4)
    wide = timm.create_model("test_resnet", num_classes=10, zero_init_last=False)
    torch.manual_seed(4)
    net: Any = build(narrow)
    block, whole = net.layer3[0], wide.layer3[0]  # a bottleneck
    assert (block.conv1.out_channels, block.conv2.in_channels, block.bn2.num_features) == (16, 16, 16)
    assert block.conv3.weight.shape[0] == whole.conv3.weight.shape[0]
    assert torch.equal(block.conv2.weight, whole.conv2.weight[:16, :16])


def test_pretrained_weights_reach_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded here: the weights that timm would fetch are constants, and asked for only when wanted."""
    create, asked = timm.create_model, []

    def pretend(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
        asked.append(pretrained)
        net = create(name, **arguments)
        for parameter in net.parameters() if pretrained else ():
            nn.init.constant_(parameter, 0.25)
        return net

    monkeypatch.setattr(timm, "create_model", pretend)
    space = small_space("timm_resnet_width")
    genotype = space.sample(random.Random(0))
    assert asked == [False]
    relaxed = Supernet(space, pretrained=True)
    for net in (relaxed.body, relaxed.discretize(genotype)[0], build(genotype, pretrained=True)):
        assert all(torch.equal(p, torch.full_like(p, 0.25)) for p in net.parameters())
    assert asked == [False, True, False, True]


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("mobilenetv3_like", {"widths": []}, "widths=.* 1 to 32 numbers"),
        ("mobilenetv3_like", {"widths": [8] * 6}, "at most 5 numbers, one a stage"),
        ("mobilenetv3_like", {"depths": [10**9]}, "depths=.* at most"),
        ("mobilenetv3_like", {"kernels": [3, "5"]}, "kernels="),
        ("mobilenetv3_like", {"kernels": [2, 3]}, "must be odd"),
        ("mobilenetv3_like", {"kernel": [3]}, "did you mean 'kernels'"),
        ("autoformer_tiny", {"dims": [10**9]}, "dims=.* at most 4096"),
        ("autoformer_tiny", {"depths": 3}, "must be of type list"),
        ("timm_resnet_width", {"backbone": "hf-hub:evil/model"}, "unknown backbone"),
        ("timm_resnet_width", {"backbone": "resnext50_32x4d"}, "unknown backbone"),
        ("timm_resnet_width", {"fractions": [2.0]}, "at most 1"),
        ("nas_bench_macro", {"depth": 3}, "argument of space 'nas_bench_macro'"),
    ],
)
def test_mistakes_in_a_space_are_one_line(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        get_space(name, **args)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nas_bench_macro", {"channels": 0}, "channels=0 must lie in 1..4096"),
        ("mobilenetv3_like", {"stem": "cifer"}, "did you mean 'cifar'"),
        ("mobilenetv3_like", {"features": 10**9}, "features=1000000000 must lie"),
        ("mobilenetv3_like", {"widths": [8]}, "unknown argument"),
        ("autoformer_tiny", {"image_size": 15}, "patch_size=4 must divide image_size=15"),
        ("autoformer_tiny", {"global_pool": "max"}, "global_pool"),
        ("autoformer_tiny", {"drop_path_rate": 1.0}, r"must lie in \[0, 1\)"),
        ("nas_bench_macro", {"num_classes": -1}, "num_classes=-1"),
    ],
)
def test_mistakes_in_a_network_are_one_line(name: str, arguments: dict[str, Any], message: str) -> None:
    genotype = small_space(name).sample(random.Random(0))
    with pytest.raises(SupernetError, match=message) as error:
        build(genotype, **(SMALL[name][1] | arguments))
    assert "\n" not in str(error.value)
