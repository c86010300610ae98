"""Relaxed and discrete networks: what was searched is what is evaluated, and every sampled point builds and runs."""
# B batch, C channels, H height, W width, L layers

import copy
import random
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import EXECUTORS, Supernet, build
from supernet.network.inherit import inherit
from supernet.space import CellSpace, Genotype, OneOf, Space, TopKCells, get_space, published
from supernet.space.zoo.nasbench201 import from_string
from tests.support.covering import covering

# Two reductions, normal cells before, between and behind them: both kinds, both strides, both preprocessings.
SMALL: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4, "layers": 5},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
    "nasnet": {"channels": 2, "layers": 3},
    **{name: {"channels": 4, "layers": 5} for name in ("s1", "s2", "s3", "s4")},
}
TINY: dict[str, dict[str, Any]] = {
    **{name: {"layers": 3} for name in ("darts", "nasnet", "s1", "s2", "s3", "s4")},
    "nasbench201": {"cells_per_stage": 1},
}
CELL: dict[str, Any] = {"kinds": ["normal", "reduce"], "reductions": ["reduce"], "inputs": 2, "nodes": 2,
                        "operations": ["skip_connect", "noise"], "macro": "darts"}  # fmt: skip
CELL: dict[str, Any] = {"kinds": ["normal", "reduce"], "reductions": ["reduce"], "inputs": 2, "nodes": 2,
                        "operations": ["skip_connect", "noise"], "macro": "darts"}  # fmt: skip
POOLS = (nn.AvgPool2d, nn.MaxPool2d)


def relaxed(name: str, executor: str = "auto", **arguments: Any) -> Supernet:
    """A small supernet in float64 with random norms' statistics, in training mode."""
    net = Supernet(get_space(name), executor=executor, seed=0, **SMALL[name] | arguments).double()
    for key, buffer in net.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return net


def with_weights_of(net: Supernet, genotype: Genotype, **arguments: Any) -> nn.Module:
    """`build(genotype)` at the supernet's size, in float64, with its weights; affine norms stay at the identity."""
    plain = build(genotype, **SMALL[net.space.name] | arguments).double()
    assert isinstance(net.space, CellSpace)
    inherit(net.body, plain, net.space, genotype)
    return plain


def like_supernet(space: str) -> dict[str, Any]:
    """The arguments of `build` that give a discrete network what the supernet of `space` has, beside its size."""
    return {} if space == "nasbench201" else {"pool_bn": True, "concat": "relaxed"}


def images(size: tuple[int, int] = (12, 12)) -> Tensor:
    return torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape and (actual - expected).abs().max().item() <= 1e-9


def points(name: str, count: int) -> list[Genotype]:
    rng = random.Random(0)
    return [get_space(name).sample(rng) for _ in range(count)]


DARTS = [published(name) for name in ("DARTS_V1", "PC_DARTS_cifar", "DrNAS_cifar10")] + points("darts", 2)
BENCH = [from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"), *points("nasbench201", 4)]
ROBUST = [genotype for name in ("s1", "s2", "s3", "s4") for genotype in points(name, 2)]
NASNET = [published("NASNet"), published("AmoebaNet")]


@pytest.mark.parametrize(
    **covering(genotype=DARTS + BENCH + ROBUST + NASNET, executor=[name for name in EXECUTORS if name != "cuda"]),
    ids=lambda value: value if isinstance(value, str) else f"{value.space}-{value.hash[:4]}",
)
def test_activated_is_what_build_makes(genotype: Genotype, executor: str) -> None:
    """Logits, gradient of the input and running statistics, in training mode and in evaluation, even and odd sizes."""
    net = relaxed(genotype.space, executor)
    plain = with_weights_of(net, genotype, **like_supernet(genotype.space))
    net.activate(genotype)
    for size, mode in product([(12, 12), (9, 7)], [True, False]):
        taken, again = images(size).requires_grad_(), images(size).requires_grad_()
        torch.manual_seed(0)  # for noise
        y = net.train(mode)(taken)
        torch.manual_seed(0)
        z = plain.train(mode)(again)
        close(y, z)
        g = torch.randn_like(z)
        grads = [
            torch.autograd.grad(out, x, g, allow_unused=True, materialize_grads=True)[0]
            for out, x in ((y, taken), (z, again))
        ]
        close(*grads)
    for key, value in net.body.stem.state_dict().items():
        torch.testing.assert_close(plain.stem.state_dict()[key], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("genotype", [DARTS[1], BENCH[1], ROBUST[0], *NASNET], ids=lambda g: f"{g.space}-{g.hash[:4]}")
def test_discretize_gives_that_network(genotype: Genotype) -> None:
    """In the supernet's precision, as a plain module of its own."""
    net = relaxed(genotype.space)
    plain, same = net.discretize(genotype)
    net.activate(genotype)
    x = images()
    close(net(x), plain(x))
    assert same == genotype and all(p.dtype == torch.float64 for p in plain.parameters())
    shared = {p.data_ptr() for p in net.parameters()}
    assert not shared & {p.data_ptr() for p in plain.parameters()}
    assert net.discretize()[1] == net.genotype() == net.space.project(net.strengths())


def test_networks_without_pool_norms_differ_by_exactly_those() -> None:
    """Their state lacks those norms' buffers and nothing else; normalising the pools from outside makes them equal."""
    net, x = relaxed("darts"), images((9, 7))
    genotype = DARTS[0]
    normed = with_weights_of(net, genotype, pool_bn=True)
    bare = build(genotype, **SMALL["darts"]).double()
    extra = normed.state_dict().keys() - bare.state_dict().keys()
    pools = {name for name, module in bare.named_modules() if isinstance(module, POOLS)}
    tails = ("running_mean", "running_var", "num_batches_tracked")
    assert pools and extra == {f"{name}.norm.{tail}" for name in pools for tail in tails}
    assert not bare.state_dict().keys() - normed.state_dict().keys()
    assert [n for n, _ in bare.named_parameters()] == [n for n, _ in normed.named_parameters()]
    bare.load_state_dict({k: v for k, v in normed.state_dict().items() if k not in extra})
    net.activate(genotype)
    expected = net(x)
    assert (bare(x) - expected).abs().max() > 1e-3
    for name in pools:
        bare.get_submodule(name).register_forward_hook(lambda m, i, y: F.batch_norm(y, None, None, training=True))
    close(bare(x), expected)


def test_cells_without_pools_need_no_pool_norms() -> None:
    space = get_space("darts")
    genotype = space.project({t.name: [[0, 0, 0, 0, 1.0, 0, 0, 0]] * 14 for t in space.tables})
    net = relaxed("darts")
    net.activate(genotype)
    close(net(images()), with_weights_of(net, genotype)(images()))


@pytest.mark.parametrize(
    ("name", "number"),
    [*((n, 15) for n in TINY if not n.startswith("s")), *(pytest.param(n, 200, marks=pytest.mark.long) for n in TINY)],
)
def test_points_build_and_run(name: str, number: int) -> None:
    """Also at widths, image sizes and channels that nobody publishes."""
    rng = random.Random(0)
    for i, genotype in enumerate(points(name, number)):
        width, in_chans, classes = rng.choice([1, 2, 3]), rng.choice([1, 3]), rng.choice([2, 7])
        net = build(genotype, channels=width, in_chans=in_chans, num_classes=classes, seed=i, **TINY[name])
        x = torch.randn(2, in_chans, rng.randint(5, 9), rng.randint(5, 9))
        logits = net(x)
        assert logits.shape == (2, classes) and logits.isfinite().all()
        if i % 10 == 0:
            logits.square().sum().backward()
            grads = [p.grad for p in net.parameters() if p.grad is not None]
            assert grads and all(g.isfinite().all() for g in grads)


def test_one_state_for_all_executors() -> None:
    nets = [relaxed("darts", executor) for executor in EXECUTORS if executor != "cuda"]
    x, start, outputs = images((8, 8)), copy.deepcopy(nets[0].state_dict()), []
    for net in nets:
        assert list(net.state_dict()) == list(start)
        net.load_state_dict(start)
        outputs.append(net(x).detach())
    for output in outputs[1:]:
        close(output, outputs[0])
    first, *rest = (net.state_dict() for net in nets)
    assert {"alpha.normal", "alpha.reduce"} < set(first)
    for state in rest:
        for key, value in first.items():
            assert (state[key] - value).abs().max().item() <= 1e-9, key


def test_alphas_start_small_and_are_apart_from_the_weights() -> None:
    net = Supernet(get_space("darts"), channels=2, layers=2, seed=5)
    alphas = torch.cat([a.detach().flatten() for a in net.alphas()])
    assert len(alphas) == 2 * 14 * 8 and 0.8e-3 < alphas.std() < 1.2e-3 and abs(alphas.mean()) < 3e-4
    assert {id(p) for p in net.parameters()} == {id(p) for p in [*net.alphas(), *net.weights()]}
    for name, p in net.mixing().items():
        torch.testing.assert_close(p, torch.softmax(net.alpha[name], -1))


def test_a_site_may_have_mixing_weights_of_its_own() -> None:
    """With equal values the same output; the gradients of the sites add up to those of the shared tables."""
    net = relaxed("darts")
    tables = {name: p.detach().requires_grad_() for name, p in net.mixing().items()}
    own = tuple(tables[site].detach().clone().requires_grad_() for site in net.sites)
    x = images((8, 8))
    together, apart = net(x, net.mixture(tables)), net(x, net.mixture()._replace(p=own))
    close(apart, together)
    shared = torch.autograd.grad(together.square().sum(), list(tables.values()))
    each = torch.autograd.grad(apart.square().sum(), own)
    for name, g in zip(tables, shared, strict=True):
        close(sum(e for e, site in zip(each, net.sites, strict=True) if site == name), g)


@pytest.mark.parametrize("name", ["darts", "nasbench201", "nasnet", "s1", "s2", "s3", "s4"])
def test_gradients_reach_every_alpha_that_exists(name: str) -> None:
    """And no other: what an edge does not offer has weight 0, and its alpha no say."""
    net = relaxed(name)
    net(images((8, 8))).square().sum().backward()
    for table in net.space.tables:
        exists, grad = torch.tensor(table.mask), net.alpha[table.name].grad
        assert grad is not None and torch.equal(grad != 0, exists)
        p = net.mixing()[table.name]
        assert torch.equal(p > 0, exists)
        torch.testing.assert_close(p.sum(-1), torch.ones(len(p), dtype=p.dtype))


def test_nasnet_joins_what_it_publishes_and_all_where_it_inherits() -> None:
    """AmoebaNet's normal cell leaves three nodes unread, its reduction cell three others."""
    genotype, size = published("AmoebaNet"), {"channels": 2, "layers": 3}
    cells = [cell.graph.concat for cell in build(genotype, **size).cells]
    assert cells == [(4, 5, 6), (3, 4, 6), (3, 4, 6)]
    every = build(genotype, **size, concat="relaxed")
    assert [cell.graph.concat for cell in every.cells] == [(2, 3, 4, 5, 6)] * 3
    plain, _ = Supernet(get_space("nasnet"), **size).discretize(genotype)
    assert [cell.graph.concat for cell in plain.cells] == [(2, 3, 4, 5, 6)] * 3


def test_activate_and_back() -> None:
    net = relaxed("darts")
    x, mixed = images((8, 8)), relaxed("darts")(images((8, 8)))
    net.activate(DARTS[0])
    (one,) = torch.autograd.grad(net(x).sum(), [net.body.cells[0].edges[0][7][1].weight], allow_unused=True)
    assert one is None, "an operation that is not taken has no gradient"
    assert set(torch.cat([p.flatten() for p in net.mixing().values()]).tolist()) == {0.0, 1.0}
    net.deactivate()
    close(net(x), mixed)
    with pytest.raises(SupernetError):
        net.activate(BENCH[0])


@pytest.mark.parametrize("make", [
    partial(Supernet, get_space("darts"), channels=2, layers=2),
    partial(Supernet, get_space("nasbench201"), channels=2, cells_per_stage=1),
    partial(build, DARTS[0], channels=2, layers=2),
    partial(build, BENCH[1], channels=2, cells_per_stage=1),
])  # fmt: skip
def test_a_seed_gives_the_same_weights_and_leaves_the_generator(make: Any) -> None:
    state = torch.random.get_rng_state()
    one, two, three = make(seed=3).state_dict(), make(seed=3).state_dict(), make(seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], three[k]) for k in one)
    torch.manual_seed(3)
    plain = make().state_dict()
    assert all(torch.equal(one[k], plain[k]) for k in one)


def test_discretize_leaves_the_generator() -> None:
    """A search that logs its network goes on with the same draws as one that does not."""
    net, state = relaxed("darts"), torch.random.get_rng_state()
    net.discretize()
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Supernet(get_space("darts"), chanels=3), "did you mean 'channels'"),
        (lambda: Supernet(get_space("darts"), auxiliary=True), "unknown argument"),
        (lambda: Supernet(get_space("darts"), executor="wide"), "unknown executor 'wide'"),
        (lambda: Supernet(get_space("darts"), channels="3"), "must be of type int"),
        (lambda: Supernet(get_space("darts"), channels=0), "1 or more"),
        (lambda: Supernet(get_space("darts"), layers=-1), "1 or more"),
        (lambda: Supernet(get_space("nasbench201"), cells_per_stage=0), "1 or more"),
        (lambda: Supernet(get_space("darts"), in_chans=0), "1 or more"),
        (lambda: Supernet(get_space("nasnet"), concat="space"), "a supernet joins all nodes"),
        (lambda: build(NASNET[0], concat="al"), "unknown network.concat 'al'"),
        (lambda: Supernet(TopKCells("mine", {}, **CELL | {"inputs": 1})), "'darts' takes .* of 2"),
        (lambda: Supernet(TopKCells("mine", {}, **CELL | {"macro": "nasbench201"})), "takes .'cell'. of 1"),
        (lambda: Supernet(TopKCells("mine", {}, **CELL | {"operations": ["skip"]})), "unknown operation 'skip'"),
        (lambda: Supernet(Space([OneOf("a", {"x": ()})], name="bare", macro="darts")), "has no cells"),
        (lambda: Supernet(Space([OneOf("a", {"x": ()})], name="bare")), "bare tree"),
        (lambda: build(DARTS[0], layer=3), "did you mean 'layers'"),
        (lambda: build(DARTS[0], space=3), "unknown argument"),
        (lambda: build(DARTS[0], auxiliary=1), "must be of type bool"),
        (lambda: build(DARTS[0], stem="imagnet"), "did you mean 'imagenet'"),
        (lambda: build(DARTS[0], stem="imagenet", channels=1), "2 or more"),
        (lambda: build(DARTS[0], num_classes=-1), "0 or more"),
        (lambda: build(DARTS[0], drop_rate=1.0), "drop_rate"),
        (lambda: build(BENCH[0], layers=3), "unknown argument"),
        (lambda: build(Genotype("mine", {"a": "b"})), "not registered"),
        (lambda: build(Genotype("darts", {"a": "b"})), "genotype"),
    ],
)
def test_mistakes_are_one_line(make: Any, message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        make()
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 500


@pytest.mark.parametrize(("stem", "size"), [("cifar", 12), ("cifar", 32), ("imagenet", 64), ("imagenet", 200)])
def test_the_auxiliary_head_speaks_in_training_only(stem: str, size: int) -> None:
    """On maps of the published sizes, smaller ones and larger ones."""
    net = build(published("DARTS_V1"), channels=2, layers=3, num_classes=5, stem=stem, auxiliary=True)
    logits, second = net(torch.randn(2, 3, size, size))
    assert logits.shape == second.shape == (2, 5)
    second.sum().backward()
    assert net.classifier.weight.grad is None and net.stem.state_dict()
    assert net.eval()(torch.randn(2, 3, size, size)).shape == (2, 5)


def test_drop_path_spares_identities() -> None:
    """It stands behind every other term, is off by default, and its rate is set for the whole network."""
    net = build(published("DARTS_V1"), channels=2, layers=3, drop_path_rate=0.3)
    for cell in net.cells:
        for ops, drops in zip(cell.terms, cell.drops, strict=True):
            for op, drop in zip(ops, drops, strict=True):
                assert isinstance(drop, nn.Identity) == isinstance(op, nn.Identity)
    rates = {m.drop_prob for m in net.modules() if isinstance(m, DropPath)}
    assert rates == {0.3}
    x, quiet = torch.randn(4, 3, 8, 8), build(published("DARTS_V1"), channels=2, layers=3)
    quiet.load_state_dict(net.state_dict())
    assert not torch.equal(net(x), quiet(x))
    net.set_drop_path(0.0)
    assert torch.equal(net.train()(x), quiet.train()(x))


@pytest.mark.parametrize("name", ["DARTS_V1", "NASNet"])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_feature_info_tells_the_truth(name: str, stem: str) -> None:
    """Channels and reduction of the maps that the named modules give."""
    net = build(published(name), channels=4, layers=5, stem=stem).eval()
    maps: dict[str, Tensor] = {}
    for info in net.feature_info:
        net.get_submodule(info["module"]).register_forward_hook(lambda m, i, y, k=info["module"]: maps.update({k: y}))
    features = net.forward_features(torch.randn(1, 3, 64, 64))
    for info in net.feature_info:
        assert maps[info["module"]].shape[1:] == (info["num_chs"], 64 // info["reduction"], 64 // info["reduction"])
    assert features.shape[1] == net.num_features
    net.reset_classifier(3)
    assert net.forward_head(features).shape == (1, 3)
    net.reset_classifier(0)
    assert torch.equal(net.forward_head(features), net.forward_head(features, pre_logits=True))


def test_gradient_checkpointing_changes_nothing() -> None:
    net, x = build(DARTS[0], channels=2, layers=3, seed=0).double(), images((8, 8))
    grads = []
    for enable in (False, True):
        net.set_grad_checkpointing(enable)
        grads.append(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))
    for one, two in zip(*grads, strict=True):
        close(two, one)
