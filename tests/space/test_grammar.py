"""Spaces of terms that nest: every point builds and runs, and what is relaxed is the sum over all of them."""

import random
from math import prod

import pytest
import torch
from torch import Tensor

import supernet
from supernet import Space, Supernet
from supernet.network import build_from
from supernet.space import get_space
from supernet.space.decision import walk
from supernet.space.form import read_space
from supernet.space.reach import reach

# Linear in every part, so that the mean over independent choices is the output for their mean: 202 points.
LINEAR = """
schema: 1
name: linear
network:
  arguments: {channels: 2}
  depth: 3
  let:
    term:
      choice:
        one: {conv: {in_channels: channels, out_channels: channels, kernel_size: 1, bias: false}}
        three: {conv: {in_channels: channels, out_channels: channels, kernel_size: 3, bias: false}}
        chain: [{ref: term}, {ref: term}]
        sum: {parallel: [{ref: term}, {ref: term}]}
  body: {seq: {cell: {ref: term}}}
"""


@pytest.fixture(scope="module")
def grammar() -> Space:
    return get_space("grammar")


def probability(point: supernet.Genotype, space: Space, p: dict[str, Tensor]) -> Tensor:
    """The product, over the open decisions, of the weight of the option that was taken."""
    taken = space.active(point)
    return prod((p[name][row, column] for name, pairs in taken.items() for row, column in pairs), start=torch.ones(()))


def test_the_grammar_is_three_levels_deep(grammar: Space) -> None:
    """T(1) = 4 operations, T(d) = 4 + 2 T(d-1)^2; the last level has no term that would go deeper."""
    assert grammar.size == 4 + 2 * (4 + 2 * 4**2) ** 2
    assert grammar.size == len(set(grammar.points()))
    depths = {path.count("/") // 2: set(decision.options) for path, decision in walk(grammar.root)}
    operations = {"skip", "conv_1x1", "conv_3x3", "pool"}
    assert depths == {0: operations | {"chain", "sum"}, 1: operations | {"chain", "sum"}, 2: operations}


def look_at_samples(grammar: Space, count: int, seed: int) -> set[str]:
    """Builds the network of each sample and compares it with the shared one, in float64; returns the points seen."""
    net = Supernet(grammar, channels=2, seed=0).double().eval()
    x, rng, seen = torch.randn(2, 3, 6, 6, dtype=torch.float64), random.Random(seed), {}
    with torch.no_grad():
        for _ in range(count):
            genotype = grammar.sample(rng)
            net.activate(genotype)
            y = net(x)
            if genotype.hash not in seen:
                plain, _ = net.discretize(genotype)
                seen[genotype.hash] = plain(x)
            torch.testing.assert_close(y, seen[genotype.hash], rtol=1e-9, atol=1e-9)
            assert y.shape == (2, 10) and y.isfinite().all()
    return set(seen)


def test_samples_build_and_run(grammar: Space) -> None:
    assert len(look_at_samples(grammar, 60, seed=0)) > 45


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 21))
def test_10000_samples_build_and_run(grammar: Space, seed: int) -> None:
    assert len(look_at_samples(grammar, 500, seed)) > 400


def test_networks_from_scratch(grammar: Space) -> None:
    for i in range(5):
        net = build_from(grammar, grammar.sample(random.Random(i)), channels=4, num_classes=3)
        assert net(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_a_nested_option_has_the_product_along_its_path() -> None:
    """Relaxed output and gradients of the alphas against autograd on the sum over all 202 points, in float64."""
    space = read_space(LINEAR)
    assert space.size == 202
    net = Supernet(space, seed=0).double().eval()
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.normal_()
    x, weights = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    y = net(x)
    gradients = torch.autograd.grad((y * weights).sum(), net.alphas())

    points, outputs = list(space.points()), []
    with torch.no_grad():
        for point in points:
            net.activate(point)
            outputs.append(net(x))
    net.deactivate()
    p = net.mixing()
    chances = [probability(point, space, p) for point in points]
    expanded = sum(chance * output for chance, output in zip(chances, outputs, strict=True))
    torch.testing.assert_close(sum(chances), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(y, expanded, rtol=1e-9, atol=1e-9)
    wanted = torch.autograd.grad((expanded * weights).sum(), net.alphas())
    for found, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_table_is_open_as_often_as_the_points_that_open_it() -> None:
    space = read_space(LINEAR)
    rng = torch.Generator().manual_seed(0)
    p = {t.name: torch.rand(t.shape, generator=rng, dtype=torch.float64).softmax(-1) for t in space.tables}
    found = reach(space, p)
    points = list(space.points())
    for table in space.tables:
        wanted = sum(probability(point, space, p) for point in points if space.active(point)[table.name])
        torch.testing.assert_close(torch.as_tensor(found[table.name], dtype=torch.float64), wanted, msg=table.name)


@pytest.mark.parametrize(("depth", "size"), [(1, 2), (2, 10), (3, 202)])
def test_depth_bounds_the_recursion(depth: int, size: int) -> None:
    assert read_space(LINEAR.replace("depth: 3", f"depth: {depth}")).size == size
