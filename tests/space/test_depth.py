"""Decisions under decisions: depth, marks, fixed choices, and the probability of what is nested."""
# B batch, C channels

import math
import random
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import Choice, Conv2d, Linear, Norm, Repeat, Supernet, SupernetError, build, recalibrate
from supernet.network import build_from
from supernet.network.entropy import entropies
from supernet.space.decision import Integer, OneOf, walk
from supernet.space.reach import reach
from supernet.space.space import Space


class Scale(nn.Module):
    """Multiplies by a number, and counts how often it ran."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by, self.runs = by, 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return self.by * x


def scales(*by: float) -> dict[str, Any]:
    return {f"x{b}": partial(Scale, b) for b in by}


class Deep(nn.Module):
    """Up to three blocks, each with a decision of its own; one decision in the second of its options."""

    def __init__(self) -> None:
        super().__init__()

        def block(i: int) -> nn.Module:
            inner = partial(Choice, scales(2, 3))
            return nn.Sequential(Choice({"plain": partial(Scale, 5 + i), "nested": lambda: nn.Sequential(inner())}))

        self.rows = Repeat(block, Choice(range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x)


def supernet(factory: Any) -> Supernet:
    return Supernet(Space(factory), seed=0).double()


def test_a_count_opens_the_decisions_of_the_blocks_that_it_reaches() -> None:
    space = Space(Deep)
    assert space.size == sum(3**d for d in range(4))
    assert len(set(space.points())) == space.size
    assert [t.name for t in space.tables] == [
        "rows/count", "rows/0/0", "rows/0/0/nested/0", "rows/1/0", "rows/1/0/nested/0", "rows/2/0", "rows/2/0/nested/0",
    ]  # fmt: skip
    paths = [path for path, _ in walk(space.root)]
    assert "rows/count/2/1/0/nested/0" in paths and not any(p.startswith("rows/count/0/") for p in paths)


def test_a_neighbour_of_another_depth_keeps_the_blocks_that_both_have() -> None:
    space = Space(Deep)
    blocks = {"0/0": "nested", "0/0/nested/0": "x3", "1/0": "plain"}
    two = space.genotype({"rows/count": 2} | {f"rows/count/2/{path}": value for path, value in blocks.items()})
    near = list(space.neighbours(two))
    deeper = [g for g in near if g.decisions["rows/count"] == 3]
    assert len(deeper) == 3, "the new block in each of its ways"
    assert all(g.decisions[f"rows/count/3/{path}"] == value for g in deeper for path, value in blocks.items())
    assert {space.distance(two, g) for g in deeper} == {2, 3}, "the depth, and what the new block decides"
    assert len([g for g in near if g.decisions["rows/count"] == 1]) == 1
    for genotype in space.points():
        for other in space.neighbours(genotype):
            assert genotype in set(space.neighbours(other))


def test_a_random_neighbour_of_another_depth_keeps_the_blocks_that_both_have() -> None:
    space, rng = Space(Deep), random.Random(0)
    for point in space.points():
        near = set(space.neighbours(point))
        assert {space.random_neighbour(point, rng) for _ in range(50)} <= near


def test_each_depth_computes_its_own_product() -> None:
    net, x = supernet(Deep), torch.ones((), dtype=torch.float64)
    seen = set()
    for genotype in net.space.points():
        expected = 1.0
        for i in range(int(str(genotype.decisions["rows/count"]))):
            at = f"rows/count/{genotype.decisions['rows/count']}/{i}/0"
            inner = genotype.decisions.get(f"{at}/nested/0")
            expected *= 5 + i if inner is None else {"x2": 2, "x3": 3}[str(inner)]
        net.activate(genotype)
        plain, _ = net.discretize(genotype)
        assert float(net(x)) == float(plain(x)) == expected
        assert type(plain.rows) is nn.Sequential and not any(isinstance(m, Choice) for m in plain.modules())
        seen.add(expected)
    assert len(seen) > 20


def test_gradients_are_those_of_the_expanded_sum() -> None:
    """The output as a sum over every point of its path product, differentiated by autograd."""
    net, x = supernet(Deep), torch.tensor(1.5, dtype=torch.float64)
    own = {name: alpha.detach().clone().requires_grad_() for name, alpha in net.alpha.items()}
    p = {name: torch.softmax(alpha, -1)[0] for name, alpha in own.items()}
    decisions = dict(walk(net.space.root))
    total = torch.zeros((), dtype=torch.float64)
    for genotype in net.space.points():
        weight = torch.ones((), dtype=torch.float64)
        for path, value in genotype.decisions.items():
            decision = decisions[path]
            weight = weight * p[decision.group or path][list(decision.options).index(str(value))]
        total = total + weight * net.discretize(genotype)[0](x)
    y = net(x)
    torch.testing.assert_close(y, total, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(y.square(), net.alphas())
    for a, b in zip(got, torch.autograd.grad(total.square(), [own[name] for name in net.alpha]), strict=True):
        assert b.abs().min() > 0 and (a - b).abs().max() <= 1e-10


def test_reach_is_the_product_along_the_path_and_sums_over_exclusive_branches() -> None:
    space = Space(Deep)
    torch.manual_seed(0)
    p = {t.name: torch.softmax(torch.randn(t.shape, dtype=torch.float64), -1) for t in space.tables}
    found = reach(space, p)
    exact = dict.fromkeys(found, 0.0)
    decisions = dict(walk(space.root))
    for genotype in space.points():
        groups = {decisions[path].group or path: str(value) for path, value in genotype.decisions.items()}
        rows = {name: list(space.groups[name].options).index(value) for name, value in groups.items()}
        weight = float(torch.stack([p[name][0, i] for name, i in rows.items()]).prod())
        for name in groups:
            exact[name] += weight
    assert found.keys() == exact.keys() and float(found["rows/count"]) == 1
    assert max(abs(float(found[name]) - exact[name]) for name in found) <= 1e-12


def test_entropy_is_that_of_the_distribution_over_points() -> None:
    net = supernet(Deep)
    torch.manual_seed(0)
    for alpha in net.alphas():
        nn.init.normal_(alpha)
    mixing = {name: p.detach() for name, p in net.mixing().items()}
    decisions, whole = dict(walk(net.space.root)), 0.0
    for genotype in net.space.points():
        weight = 1.0
        for path, value in genotype.decisions.items():
            name = decisions[path].group or path
            weight *= float(mixing[name][0, list(net.space.groups[name].options).index(str(value))])
        whole -= weight * math.log(weight)
    found, each = entropies(net.space, mixing)
    assert found == pytest.approx(whole, abs=1e-12)
    assert each.keys() == net.alpha.keys()


def test_blocks_that_no_count_reaches_cost_nothing() -> None:
    net = supernet(Deep)
    net.activate(net.space.genotype({"rows/count": 1, "rows/count/1/0/0": "plain"}))
    net(torch.ones((), dtype=torch.float64))
    runs = {name: m.runs for name, m in net.body.named_modules() if isinstance(m, Scale)}
    assert sum(runs.values()) == 1 and runs["net.rows.0.0.options.plain"] == 1


def test_a_shared_count_opens_the_blocks_of_all_its_rows() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            depth = Choice([1, 2])
            self.a = Repeat(lambda i: nn.Sequential(Choice(scales(2 + i, 5 + i))), depth)
            self.b = Repeat(lambda i: nn.Sequential(Choice(scales(2 + i, 5 + i))), depth * 2 - 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    net = supernet(Net)
    assert net.space.size == 2**2 + 2**5
    assert {"a/count/2/1/0", "a/count/2/b/2/0"} <= {path for path, _ in walk(net.space.root)}
    rng, x = random.Random(0), torch.ones((), dtype=torch.float64)
    for _ in range(20):
        genotype = net.space.sample(rng)
        net.activate(genotype)
        assert float(net(x)) == float(net.discretize(genotype)[0](x))


class Marked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.learned = Choice(scales(2, 3))
        self.searched = Choice(scales(5, 7), mark="searchable", default="x7")
        inner = lambda: nn.Sequential(Choice(scales(11, 13)))  # noqa: E731
        self.given = Choice({"a": partial(Scale, 17), "b": inner}, mark="fixed", default="b")
        self.width = Choice([2, 4], mark="fixed", default=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.given(self.searched(self.learned(x)))


def test_marks() -> None:
    """Trainable decisions have alphas, searchable ones are sampled only, fixed ones are none."""
    net, x = supernet(Marked), torch.ones((), dtype=torch.float64)
    space = net.space
    assert set(net.alpha) == {"learned", "given/b/0"} and space.size == 8
    assert [p for p, _ in walk(space.root)] == ["learned", "searched", "given/b/0"]
    p = {name: value[0] for name, value in net.mixing().items()}
    learned = p["learned"] @ torch.tensor([2.0, 3], dtype=torch.float64)
    inner = p["given/b/0"] @ torch.tensor([11.0, 13], dtype=torch.float64)
    torch.testing.assert_close(net(x), learned * 7 * inner)
    assert net.genotype().decisions["searched"] == "x7"
    assert {str(g.decisions["searched"]) for g in space.points()} == {"x5", "x7"}
    genotype = space.genotype({"learned": "x2", "searched": "x5", "given/b/0": "x13"})
    plain, _ = net.discretize(genotype)
    net.activate(genotype)
    assert float(plain(x)) == float(net(x)) == 2 * 5 * 13
    assert plain.width == 4
    assert len(list(space.neighbours(genotype))) == 3
    with pytest.raises(SupernetError, match="no trainable decision"):
        Supernet(Space(partial(nn.Sequential, Choice(scales(2, 3), mark="searchable"))))


def test_a_branch_may_use_what_is_decided_above_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = self.width = Choice([2, 4])
            self.op = Choice({"conv": lambda: Conv2d(4, width, 3), "two": lambda: Conv2d(4, width, 5)})

        def forward(self, x: Tensor) -> Tensor:
            return self.op(x)

    net = supernet(Net)
    assert [t.name for t in net.space.tables] == ["width", "op"] and net.space.size == 4
    assert net(torch.randn(2, 4, 5, 5, dtype=torch.float64)).shape == (2, 4, 5, 5)


def test_a_value_may_be_set_behind_what_uses_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = Choice([2, 4])
            self.rows = Repeat(lambda i: Conv2d(4 if i == 0 else width, width, 3), Choice([1, 2]))
            self.width = width

    assert [path for path, _ in walk(Space(Net).root)] == ["width", "rows/count"]


def test_arguments_of_the_network_are_arguments_of_the_supernet() -> None:
    class Net(nn.Module):
        def __init__(self, wide: int = 4, *, num_classes: int = 10, in_chans: int = 3) -> None:
            super().__init__()
            self.stem = Conv2d(in_chans, Choice([wide, 2 * wide]), 3)
            self.head = nn.Linear(2, num_classes)

    space = Space(partial(Net, wide=2), name="wide")
    assert Supernet(space, num_classes=3).body.net.head.out_features == 3
    with pytest.raises(SupernetError, match=r"unknown argument of the 'wide' supernet: 'wide'"):
        Supernet(space, wide=3)
    with pytest.raises(SupernetError, match="must not depend on them"):
        Supernet(Space(Net), wide=3)
    plain: Any = build_from(space, space.genotype({"stem/out_channels": "4"}), num_classes=5, in_chans=1, seed=0)
    assert (plain.stem.in_channels, plain.stem.out_channels, plain.head.out_features) == (1, 4, 5)
    with pytest.raises(SupernetError, match="not registered; for a network of your own"):
        build(space.genotype({"stem/out_channels": "4"}))


class Batched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = self.width = Choice([2, 3, 5])
        self.a, self.na = Conv2d(3, width, 3), Norm(width)
        self.b, self.nb = Conv2d(width, 4, Choice([1, 3])), Norm(4)
        self.head = Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.nb(self.b(self.na(self.a(x)).relu())).relu().mean((2, 3)))


def test_recalibrated_statistics_are_those_of_the_width_alone() -> None:
    """For each point: as if a network of this width had seen the batches, whatever was trained before."""
    torch.manual_seed(0)
    net = supernet(Batched)
    batches = [torch.randn(8, 3, 6, 6, dtype=torch.float64) * (i + 1) for i in range(3)]
    for _ in range(3):
        net.train()(torch.randn(8, 3, 6, 6, dtype=torch.float64) * 9)
    for genotype in net.space.points():
        alone, _ = net.discretize(genotype)
        for norm in (alone.na, alone.nb):
            norm.reset_running_stats()
            norm.momentum = None
        for x in batches:
            alone.train()(x)
        net.activate(genotype)
        recalibrate(net, batches)
        assert (net.eval()(batches[0]) - alone.eval()(batches[0])).abs().max() <= 1e-12
        again, _ = net.discretize(genotype)
        recalibrate(again.train(), batches)
        assert again.training and again.na.momentum == 0.1
        assert torch.equal(again.na.running_var, alone.na.running_var)
        assert int(again.na.num_batches_tracked) == 3


def test_a_fixed_part_of_a_count_is_no_decision() -> None:
    def net() -> nn.Module:
        base, extra = Choice([1, 2], mark="fixed"), Choice([0, 1, 2])
        return nn.Sequential(Repeat(lambda i: nn.Sequential(Choice(scales(2 + i, 5 + i))), extra + base))

    assert Space(net).size == 2 + 4 + 8


def test_two_rows_of_one_count_have_names_of_their_own() -> None:
    def net() -> nn.Module:
        depth = Choice([1, 2])
        first = Repeat(lambda i: nn.Sequential(Choice(scales(2, 3))), depth)
        return nn.Sequential(first, Repeat(lambda i: Choice(scales(5, 7)), depth))

    relaxed = supernet(net)
    assert relaxed.space.size == 2**2 + 2**4
    x, rng = torch.ones((), dtype=torch.float64), random.Random(0)
    for _ in range(10):
        genotype = relaxed.space.sample(rng)
        relaxed.activate(genotype)
        assert float(relaxed(x)) == float(relaxed.discretize(genotype)[0](x))


def test_one_choice_may_serve_all_blocks_of_a_row() -> None:
    """The first block is there whenever a later one is."""

    def net() -> nn.Module:
        kernel = Choice([1, 3])
        return nn.Sequential(Repeat(lambda i: Conv2d(2, 2, kernel), Choice([1, 2, 3])))

    assert Space(net).size == 6


def test_a_block_that_works_in_place_is_refused_where_depths_are_mixed() -> None:
    net = supernet(lambda: nn.Sequential(Repeat(lambda: nn.Sequential(nn.ReLU(inplace=True)), Choice([1, 2]))))
    with pytest.raises(SupernetError, match="block 1 of a Repeat changes its input in place"):
        net(torch.randn(3, 2, dtype=torch.float64))


def test_a_layer_in_two_places_stays_one() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = Linear(4, Choice([4]), bias=False)
            self.two = nn.Sequential(self.one, Choice(scales(2, 3)))

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    plain, _ = supernet(Net).discretize()
    assert plain.two[0] is plain.one and len(list(plain.parameters())) == 1


def test_a_count_of_several_choices_is_refused() -> None:
    with pytest.raises(SupernetError, match="depends on 2 choices; it may on one"):
        Space(lambda: nn.Sequential(Repeat(nn.Identity, Choice([1, 2]) + Choice([0, 1]))))
    with pytest.raises(SupernetError, match="put the Repeat into a network"):
        Space(lambda: Repeat(nn.Identity, Choice([1, 2])))


def test_recalibration_needs_batches_and_takes_them_with_targets() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    net[0].running_mean += 1
    with pytest.raises(SupernetError, match="was given no batch"):
        recalibrate(net, [])
    assert (net[0].running_mean == 1).all()
    x, seen = torch.randn(4, 3, 2, 2), []
    net[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    recalibrate(net.train(), [(x, torch.zeros(4))])
    assert torch.allclose(net[0].running_mean, x.mean((0, 2, 3)), atol=1e-6)
    assert seen == [False] and net[1].training


def test_decisions_of_one_group_have_one_set_of_options() -> None:
    deeper = (OneOf("x", {"a": (), "b": ()}, group="g"),), (OneOf("x", {"a": (), "c": ()}, group="g"),)
    with pytest.raises(SupernetError, match="other options than the others of its group 'g'"):
        Space([OneOf("top", {"1": deeper[0], "2": deeper[1]})])
    with pytest.raises(SupernetError, match="did you mean 'searchable'"):
        OneOf("x", {"a": ()}, mark="searchble")  # type: ignore[arg-type]
    with pytest.raises(SupernetError, match="unknown default of decision 'n'"):
        Integer("n", 1, 3, default="4")
