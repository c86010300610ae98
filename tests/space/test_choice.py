"""`Choice` in networks of one's own: found, named, relaxed, activated, discretised; mistakes are one line."""
# B batch, C channels, O options

import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.space import Genotype, Space
from supernet.space.choice import Choice
from supernet.space.decision import KOf, walk


class Scale(nn.Module):
    """x times a learned number: sums of choices can be written out by hand."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))
        self.start = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value * x


def scales(*values: float) -> dict[str, Any]:
    return {f"x{v:g}": partial(Scale, v) for v in values}


class Nested(nn.Module):
    """A choice in an option of a choice, behind a Sequential, and one that stands alone."""

    def __init__(self) -> None:
        super().__init__()
        inner = partial(Choice, scales(2, 3))
        self.outer = Choice(
            {"direct": inner, "wrapped": lambda: nn.Sequential(inner(), Scale(5)), "plain": partial(Scale, 7)}
        )
        self.tail = Choice(scales(11, 13))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.outer(x))


def conv(c_in: int, c_out: int, k: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c_in, c_out, k, padding=k // 2), nn.BatchNorm2d(c_out), nn.ReLU())


class Images(nn.Module):
    """Shared choices across channels, choices in lists and dicts, two of three, and an option with a choice inside."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 4, 6]
        self.stages = nn.ModuleList(
            nn.Sequential(
                Choice({"k1": partial(conv, a, b, 1), "k3": partial(conv, a, b, 3)}, share="kernel"), nn.Tanh()
            )
            for a, b in pairwise(widths)
        )
        options = {"id": nn.Identity, "avg": partial(nn.AvgPool2d, 3, 1, 1), "conv": (conv, 6, 6, 3)}
        self.mix = Choice(options, k=2)
        deep = nn.Sequential(conv(6, 6, 1), Choice([nn.Tanh, nn.Sigmoid]))
        self.block = nn.ModuleDict({"a": Choice({"deep": deep, "none": nn.Identity()})})
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(self.block["a"](self.mix(x)).mean(dim=(2, 3)))


def supernet(factory: Callable[[], nn.Module], seed: int = 0) -> Supernet:
    net = Supernet(Space(factory), seed=seed).double()
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(alpha.numel())))
    return net


def choices_in(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, Choice)]


def test_decisions_are_named_by_their_place() -> None:
    space = Space(Nested)
    assert [path for path, _ in walk(space.root)] == ["outer", "outer/direct/choice", "outer/wrapped/0", "tail"]
    assert space.name == "Nested" and space.size == (2 + 2 + 1) * 2
    space = Space(Images)
    decisions = dict(walk(space.root))
    assert set(decisions) == {"kernel", "mix", "block/a", "block/a/deep/1"}
    assert isinstance(decisions["mix"], KOf) and space.size == 2 * 3 * (2 + 1)
    assert [t.columns for t in space.tables if t.name == "kernel"] == [("k1", "k3")]


@pytest.mark.parametrize("factory", [Nested, Images])
def test_activated_is_discretised(factory: Callable[[], nn.Module]) -> None:
    """Every point: in training mode, then in evaluation; the plain module holds no choice and no weight of the net."""
    net = supernet(factory)
    x = torch.randn(3, 3, 5, 5, dtype=torch.float64)
    outputs = []
    for genotype in net.space.points():
        plain, same = net.discretize(genotype)
        assert same == genotype and not choices_in(plain)
        assert type(plain) is factory
        assert not {p.data_ptr() for p in plain.parameters()} & {p.data_ptr() for p in net.parameters()}
        net.activate(genotype)
        for training in (True, False):
            a, b = net.train(training)(x), plain.train(training)(x)
            assert (a - b).abs().max().item() <= 1e-9
        outputs.append(a.detach())
        net.deactivate()
    assert len(outputs) == net.space.size
    assert len(choices_in(net)) == {Nested: 4, Images: 5}[factory], "the supernet keeps its choices"
    assert len({round(y.sum().item(), 9) for y in outputs}) == net.space.size, "each point computes something else"


def test_discretise_takes_the_strongest() -> None:
    net = supernet(Nested)
    with torch.no_grad():
        for name, best in (("outer", 1), ("outer/wrapped/0", 1), ("outer/direct/choice", 0), ("tail", 0)):
            net.alpha[name].zero_()[0, best] = 1
    plain, genotype = net.discretize()
    assert dict(genotype.decisions) == {"outer": "wrapped", "outer/wrapped/0": "x3", "tail": "x11"}
    x = torch.randn(4, dtype=torch.float64)
    torch.testing.assert_close(plain(x), 3.0 * 5 * 11 * x)
    assert Genotype.from_json(genotype.to_json()) == genotype
    net = supernet(Images)
    with torch.no_grad():
        net.alpha["mix"].copy_(torch.tensor([[0.3, 0.1, 0.2]]))
    assert net.genotype().decisions["mix"] == ("id", "conv")


def test_mixture_and_gradients_are_those_of_the_expanded_sum() -> None:
    """The weight of a nested option is the product along its path, and each alpha's gradient follows from that."""
    net = supernet(Nested)
    x = torch.randn(6, dtype=torch.float64)
    y = net(x)
    own = {name: net.alpha[name].detach().clone().requires_grad_() for name in net.alpha}
    p = {name: torch.softmax(alpha, -1)[0] for name, alpha in own.items()}
    outer, tail = p["outer"], p["tail"]
    factor = (
        outer[0] * (p["outer/direct/choice"] @ torch.tensor([2.0, 3.0], dtype=torch.float64))
        + outer[1] * (p["outer/wrapped/0"] @ torch.tensor([2.0, 3.0], dtype=torch.float64)) * 5
        + outer[2] * 7
    ) * (tail @ torch.tensor([11.0, 13.0], dtype=torch.float64))
    torch.testing.assert_close(y, factor * x, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(y.square().sum(), net.alphas())
    expected = torch.autograd.grad((factor * x).square().sum(), [own[name] for name in net.alpha])
    for a, b in zip(got, expected, strict=True):
        assert a.abs().min() > 0
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_reach_every_alpha_and_weight() -> None:
    net = supernet(Images)
    net(torch.randn(3, 3, 5, 5, dtype=torch.float64)).square().sum().backward()
    assert all(a.grad is not None and a.grad.abs().min() > 0 for a in net.alphas())
    assert all(w.grad is not None for w in net.weights())


def test_shared_choices_are_one_decision() -> None:
    """One table for both places, of whatever channels; its gradient is the sum of theirs."""
    net = supernet(Images)
    assert [name for name in net.alpha if "kernel" in name or "stages" in name] == ["kernel"]
    assert net.body.sites.count("kernel") == 2
    x = torch.randn(3, 3, 5, 5, dtype=torch.float64)
    tables = {name: p.detach() for name, p in net.mixing().items()}
    shared = tables["kernel"].clone().requires_grad_()
    (together,) = torch.autograd.grad(net(x, net.mixture(tables | {"kernel": shared})).sum(), shared)
    own = tuple(tables[s].clone().requires_grad_() for s in net.sites)
    each = torch.autograd.grad(net(x, net.mixture()._replace(p=own)).sum(), own)
    parts = [g for g, s in zip(each, net.sites, strict=True) if s == "kernel"]
    torch.testing.assert_close(together, parts[0] + parts[1], rtol=1e-10, atol=1e-12)
    plain, _ = net.discretize(next(g for g in net.space.points() if g.decisions["kernel"] == "k3"))
    assert [stage[0][0].kernel_size for stage in plain.stages] == [(3, 3), (3, 3)]


def test_a_shared_choice_inside_options_stands_once_at_the_root() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shared = partial(Choice, scales(2, 3), share="factor")
            self.op = Choice({"a": shared, "b": lambda: nn.Sequential(shared(), Scale(5))})

        def forward(self, x: Tensor) -> Tensor:
            return self.op(x)

    net = supernet(Net)
    assert set(net.alpha) == {"op", "factor"} and net.space.size == 4
    x = torch.randn(3, dtype=torch.float64)
    for genotype in net.space.points():
        factor = {"x2": 2, "x3": 3}[str(genotype.decisions["factor"])] * {"a": 1, "b": 5}[str(genotype.decisions["op"])]
        net.activate(genotype)
        torch.testing.assert_close(net(x), factor * x)
        torch.testing.assert_close(net.discretize(genotype)[0](x), factor * x)


@pytest.mark.parametrize("twice", ["side by side", "in a list", "in two blocks", "a block twice"])
def test_one_choice_in_two_places_is_one_decision(twice: str) -> None:
    """The same object, as in networks that apply one block again and again; also when made plain."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            choice = Choice(scales(2, 3))
            block = nn.Sequential(choice, Scale(5))
            if twice == "side by side":
                self.one, self.two = choice, choice
            else:
                pair = {"in a list": [choice, choice], "a block twice": [block, block]}
                both = pair.get(twice) or [nn.Sequential(choice), nn.Sequential(choice)]
                self.both = nn.ModuleList(both)

        def forward(self, x: Tensor) -> Tensor:
            one, two = (self.one, self.two) if twice == "side by side" else self.both
            return two(one(x))

    net = supernet(Net)
    assert net.space.size == 2
    x = torch.randn(3, dtype=torch.float64)
    for genotype, factor in zip(net.space.points(), (2, 3), strict=True):
        net.activate(genotype)
        expected = (factor * (5 if twice == "a block twice" else 1)) ** 2 * x
        torch.testing.assert_close(net(x), expected)
        plain, _ = net.discretize(genotype)
        torch.testing.assert_close(plain(x), expected)
        assert not choices_in(plain)


def test_one_choice_in_two_branches_needs_a_share() -> None:
    """Else it would be decided in one branch and undecided in the other."""
    for share in (None, "f"):

        def net(share: str | None = share) -> nn.Module:
            choice = Choice(scales(2, 3), share=share)
            return nn.Sequential(Choice({"a": nn.Sequential(choice, Scale(5)), "b": partial(Scale, 7)}), choice)

        if share is None:
            with pytest.raises(SupernetError, match="in and out of one; give it a share"):
                Space(net)
        else:
            relaxed, x = supernet(net), torch.randn(3, dtype=torch.float64)
            for genotype in relaxed.space.points():
                factor = {"x2": 2, "x3": 3}[str(genotype.decisions["f"])]
                relaxed.activate(genotype)
                expected = factor * (5 * factor if genotype.decisions["0"] == "a" else 7) * x
                torch.testing.assert_close(relaxed(x), expected)
                torch.testing.assert_close(relaxed.discretize(genotype)[0](x), expected)


def test_options_that_differ_in_more_than_numbers() -> None:
    """What tells two options apart may be a function, a list or a dict; they are no twins."""

    class Apply(nn.Module):
        def __init__(self, what: Any) -> None:
            super().__init__()
            self.what = what

    for one, two in ((torch.tanh, torch.relu), ([1, 2], [1, 3]), ({"a": 1}, {"a": 2}), (None, 1), (len, None)):
        assert len(Choice([partial(Apply, one), partial(Apply, two)]).options) == 2
    with pytest.raises(SupernetError, match="identical"):
        Choice([partial(Apply, torch.tanh), partial(Apply, torch.tanh)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Choice({f"k{k}": lambda: nn.Conv2d(2, 2, k) for k in (1, 3)}),  # noqa: B023
            "identical modules; was a loop variable",
        ),
        (lambda: Choice({"a": nn.Identity, "b": nn.Identity()}), "'a' and 'b' build identical"),
        (lambda: Choice({}), "at least one option"),
        (lambda: Choice([nn.Identity], k=2), "1 <= k <= options"),
        (lambda: Choice([nn.Identity], k=0), "1 <= k <= options"),
        (lambda: Choice([nn.Identity, nn.ReLU], k=1.5), "1 <= k <= options"),
        (lambda: Choice([(nn.Conv2d, 3), nn.ReLU]), "option '0' cannot be made"),
        (lambda: Supernet(Space(Nested), seed="a"), "seed='a' must be a whole number"),
        (
            lambda: Supernet(Space(partial(nn.Sequential, Choice(scales(2, 3), share="keys")))),
            "'keys' has a name that torch keeps",
        ),
        (lambda: Choice({"a.b": nn.Identity}), r"without '/' and '\.'"),
        (lambda: Choice({"a/b": nn.Identity}), r"without '/' and '\.'"),
        (lambda: Choice({"": nn.Identity}), "non-empty"),
        (lambda: Choice({"half": nn.Identity}), "'half' is taken by torch's modules"),
        (lambda: Choice({1: nn.Identity}), "option name 1"),
        (lambda: Choice({"a": 3, "b": nn.Identity}), "mixes values with other things"),
        (lambda: Choice([3, None]), "mixes values with other things"),
        (lambda: Choice({"a": lambda: 3}), "'a' gives int"),
        (lambda: Choice({"a": nn.Identity, "b": ()}), "'b' gives tuple"),
        (lambda: Choice(scales(1, 2))(torch.ones(1)), "undecided choices"),
        (lambda: Nested()(torch.ones(1)), "undecided choices"),
        (lambda: Space(partial(nn.Linear, 2, 2)), "put a Choice into the network"),
        (lambda: Space(lambda: 3), "not int"),
        (lambda: Supernet(Space(Nested), channels=3), "unknown argument"),
    ],
)
def test_mistakes_are_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        make()
    assert len(str(error.value).splitlines()) == 1


def test_options_of_other_shapes_are_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.op = Choice({"same": partial(nn.Linear, 4, 4), "wide": partial(nn.Linear, 4, 6)})

        def forward(self, x: Tensor) -> Tensor:
            return self.op(x)

    with pytest.raises(SupernetError, match=r"one shape, not \{'same': \(2, 4\), 'wide': \(2, 6\)\}"):
        Supernet(Space(Net))(torch.randn(2, 4))


def test_shares_of_other_options_are_refused() -> None:
    def net(*, k: int = 1, values: tuple[float, ...] = (2, 3)) -> nn.Module:
        return nn.Sequential(Choice(scales(2, 3), share="f"), Choice(scales(*values), share="f", k=k))

    assert Space(net).size == 2
    for wrong in ({"values": (2, 4)}, {"values": (3, 2)}, {"values": (2, 3, 4)}, {"k": 2}):
        with pytest.raises(SupernetError, match="share 'f' must have the same options"):
            Space(partial(net, **wrong))


def test_a_network_that_is_a_choice_is_named_so() -> None:
    """The outermost module cannot be replaced from inside: the message must say what to do."""
    with pytest.raises(SupernetError, match="Choice"):
        Supernet(Space(partial(Choice, scales(2, 3))))


@pytest.mark.parametrize("order", [("relu", "skip"), ("skip", "relu")])
def test_an_option_that_works_in_place_is_refused(order: tuple[str, ...]) -> None:
    """It would change what the options behind it read, without any error of torch's."""
    options = {"relu": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 3, 1)), "skip": nn.Identity}
    net = supernet(lambda: nn.Sequential(Choice({name: options[name] for name in order})))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    with pytest.raises(SupernetError, match="option 'relu' of a Choice changes its input in place"):
        net(x)
    net.activate(net.space.genotype({"0": "relu"}))
    assert net(x).shape == x.shape, "alone it does no harm"


def test_nothing_stays_behind_after_a_forward() -> None:
    """A mixing weight that stays would hold its graph, and let a bare call of the network pass."""
    net = supernet(Nested)
    net(torch.ones(2, dtype=torch.float64))
    with pytest.raises(SupernetError, match="undecided"):
        net.body.net(torch.ones(2, dtype=torch.float64))


def test_sampling_and_moves_work_on_choices() -> None:
    space, rng = Space(Images), random.Random(0)
    seen = {space.sample(rng) for _ in range(400)}
    assert seen == set(space.points()) and len(seen) == space.size
    for genotype in seen:
        assert space.decode(space.encode(genotype)) == genotype
        assert all(space.distance(genotype, other) >= 1 for other in space.neighbours(genotype))
