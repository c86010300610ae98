"""Expected cost: exact at every genotype, the mean over all genotypes anywhere else, and differentiable."""

import random
import re
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import Choice, Supernet
from supernet.cost import CostTable, cost_table, expected, report
from supernet.errors import SupernetError
from supernet.space import Genotype, Space, get_space
from supernet.space.layers import Activation, Attention, Conv2d, Linear, Norm, Repeat, Resize
from tests.support.covering import sampled
from tests.support.zoo_small import SMALL, small_space

P = dict[str, Tensor]


class Block(nn.Module):
    """A residual block: its own kernel and expansion, the width of its stage."""

    def __init__(self, width: Any) -> None:
        super().__init__()
        wide = width * Choice([1, 2])
        self.expand = nn.Sequential(Conv2d(width, wide, 1, bias=False), Norm(wide), nn.ReLU(inplace=True))
        self.mix = Choice({"filter": Conv2d(wide, wide, 3, groups=wide), "none": nn.Identity()})
        self.project = Conv2d(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.mix(self.expand(x)))


class Images(nn.Module):
    """Nested choices, depth, width, kernel and resolution: 144 points."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.width = Choice([2, 4])
        self.stem = nn.Sequential(Resize(Choice([5, 8])), Conv2d(3, self.width, Choice([1, 3]), stride=2))
        self.stage = Repeat(partial(Block, self.width), Choice(range(1, 3)))
        self.head = Linear(self.width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stage(self.stem(x)).mean((2, 3)))


class Tokens(nn.Module):
    """Attention; a shared, a searchable and a fixed choice; a stride that shortens the row: 96 points."""

    def __init__(self) -> None:
        super().__init__()
        dim = Choice([4, 6])
        self.patches = Conv2d(3, dim, 2, Choice([1, 2]), padding=0)
        self.position = nn.Parameter(torch.zeros(1))
        self.attention = Attention(dim, Choice([1, 2, 3]), 2)
        hidden = Choice([3, 5], share="hidden")
        self.mlp = nn.Sequential(Linear(dim, hidden), Activation(Choice(["relu", "gelu"])), Linear(hidden, dim))
        self.deeper = Choice({"yes": Linear(dim, 4), "no": Linear(dim, 4, False)}, mark="searchable", default="no")
        self.fixed = Choice({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2, bias=False)}, mark="fixed", default="b")

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        tokens = self.mlp(tokens + self.attention(tokens))
        return self.fixed(self.deeper(tokens.mean(1)))


class Hydra(nn.Module):
    """Two of three heads, one of which is a choice itself, called twice: 12 points."""

    def __init__(self) -> None:
        super().__init__()
        inner = Choice({"k1": nn.Conv2d(3, 3, 1), "k3": nn.Conv2d(3, 3, 3, padding=1)})
        self.heads = Choice({"a": inner, "b": nn.Conv2d(3, 3, 5, padding=2), "c": nn.Identity()}, k=2)
        self.again = Choice({"x": nn.Conv2d(3, 3, 1), "y": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.heads(self.again(x)))


class Deep(nn.Module):
    """A depth that the widths inside depend on: block 1 is there for one of its two values."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = Choice(range(1, 3))
        self.blocks = Repeat(self.block, self.depth)

    def block(self) -> nn.Module:
        return nn.Sequential(Conv2d(3, self.depth * 2, 1), Conv2d(self.depth * 2, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Partly(nn.Module):
    """A depth of a fixed and an open choice, 2 or 3 blocks."""

    def __init__(self) -> None:
        super().__init__()
        always = Choice([1, 2], mark="fixed", default=2)
        self.blocks = Repeat(lambda: nn.Conv2d(3, 3, 1), always + Choice([0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Rest(nn.Module):
    """Twelve channels, divided: where one part is at its widest, the other does not fit the widest layer."""

    def __init__(self) -> None:
        super().__init__()
        width = Choice([4, 8])
        self.one, self.rest = Conv2d(3, width, 1), Conv2d(3, 12 - width, 1)
        self.ends = nn.ModuleList([Conv2d(width, 2, 1), Conv2d(12 - width, 2, 1)])

    def forward(self, x: Tensor) -> Tensor:
        return self.ends[0](self.one(x)) + self.ends[1](self.rest(x))


NETS = {"images": Images, "tokens": Tokens, "deep": Deep}
ALL: dict[str, tuple[Callable[[], Space], dict[str, Any]]] = {
    **{
        name: (partial(Space, net), {})
        for name, net in (NETS | {"hydra": Hydra, "partly": Partly, "rest": Rest}).items()
    },
    "darts": (partial(get_space, "darts", nodes=2), {"channels": 2, "layers": 3, "stem": "imagenet"}),
    "s1": (partial(get_space, "s1"), {"channels": 2, "layers": 3}),
    "nasnet": (partial(get_space, "nasnet"), {"channels": 2, "layers": 3, "concat": "relaxed"}),
    "nasbench201": (partial(get_space, "nasbench201"), {"channels": 2, "cells_per_stage": 1}),
    **{name: (partial(small_space, name), SMALL[name][1]) for name in SMALL if name != "mobilenetv3_like"},
    "mobilenet": (
        partial(get_space, "mobilenetv3_like", widths=[8], depths=[1, 2], kernels=[3, 5], expansions=[3]),
        {"channels": 2, "features": 4},
    ),
}
IMAGE = (3, 16, 16)


@pytest.fixture(scope="module")
def made() -> Callable[[str, str], tuple[Space, CostTable]]:
    """(space, table) of a name and a unit, each made once."""
    spaces = {name: make() for name, (make, _) in ALL.items()}
    tables: dict[tuple[str, str], CostTable] = {}

    def get(name: str, unit: str = "flops") -> tuple[Space, CostTable]:
        if (name, unit) not in tables:
            tables[name, unit] = cost_table(spaces[name], unit, image=IMAGE, **ALL[name][1])
        return spaces[name], tables[name, unit]

    return get


def shapes(space: Space) -> dict[str, tuple[int, int]]:
    return {t.name: t.shape for t in space.tables} | {name: (1, len(row)) for name, row in space.searchable.items()}


def one_hot(space: Space, genotype: Genotype) -> P:
    """The mixing weights that run `genotype`; of closed decisions any."""
    p = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes(space).items()}
    for name, pairs in space.active(genotype).items():
        if not pairs:
            p[name][0, -1] = 1
        for row, column in pairs:
            p[name][row, column] = 1
    return p


def uneven(space: Space, seed: int = 0) -> P:
    torch.manual_seed(seed)
    return {name: torch.rand(shape, dtype=torch.float64).softmax(-1) for name, shape in shapes(space).items()}


@pytest.mark.parametrize("name", sampled(ALL, 2))
def test_exact_at_every_genotype(name: str, made: Any) -> None:
    rng = random.Random(7)
    for _ in range(2):
        genotype = made(name)[0].sample(rng)
        whole = report(genotype, space=made(name)[0], image=IMAGE, **ALL[name][1])
        for unit in ("flops", "parameters"):
            space, table = made(name, unit)
            assert table.of(genotype) == whole[unit]
            assert float(expected(space, one_hot(space, genotype), table)) == whole[unit]


@pytest.mark.parametrize("unit", ["flops", "parameters"])
@pytest.mark.parametrize("name", NETS)
def test_the_mean_over_all_genotypes(name: str, unit: str, made: Any) -> None:
    """Where each decision is drawn with the weights p, nested ones given those above them."""
    space, table = made(name, unit)
    p, mean, total = uneven(space), 0.0, 0.0
    for genotype in space.points():
        active = space.active(genotype)
        chance = prod(float(p[site][row, column]) for site, pairs in active.items() for row, column in pairs)
        mean, total = mean + chance * table.of(genotype), total + chance
    assert total == pytest.approx(1, abs=1e-12)
    assert float(expected(space, p, table)) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_gradients_against_central_differences(name: str, made: Any) -> None:
    space, table = made(name)
    p = {key: value.requires_grad_() for key, value in uneven(space).items()}
    expected(space, p, table).backward()
    rng, step, seen = random.Random(0), 1e-4, 0.0
    for _ in range(12):
        key = rng.choice(list(p))
        place = rng.randrange(p[key].shape[0]), rng.randrange(p[key].shape[1])
        ends = []
        for sign in (1, -1):
            moved = {k: v.detach().clone() for k, v in p.items()}
            moved[key][place] += sign * step
            ends.append(float(expected(space, moved, table)))
        assert p[key].grad is not None
        slope = float(p[key].grad[place])
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-3)
        seen = max(seen, abs(slope))
    assert seen > 0


def test_of_a_supernet() -> None:
    """The gradient reaches alpha, and grows where an operation costs more."""
    space = get_space("nasbench201")
    net = Supernet(space, channels=2, cells_per_stage=1, seed=0)
    table = cost_table(space, image=IMAGE, channels=2, cells_per_stage=1)
    cost = expected(space, net.mixing(), table)
    cost.backward()
    gradient = net.alpha["cell"].grad
    assert gradient is not None and cost.dtype == torch.float64
    names = list(space.tables[0].columns)
    order = [names[i] for i in gradient[0].argsort().tolist()]
    assert order[-2:] == ["nor_conv_1x1", "nor_conv_3x3"]


def test_decisions_without_alphas_take_their_default(made: Any) -> None:
    space, table = made("tokens", "parameters")
    p = uneven(space)
    (name,) = space.searchable
    told = p | {name: torch.tensor([[0.0, 1.0]], dtype=torch.float64)}
    del p[name]
    assert float(expected(space, p, table)) == float(expected(space, told, table))


class Between(nn.Module):
    """Multiplies what its layers give, as wide as is decided."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(3, Choice([2, 4]), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).flatten(2)
        return (y @ y.transpose(1, 2)).mean((1, 2))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.op = Choice({"a": self.first, "b": nn.ReLU()})

    def forward(self, x: Tensor) -> Tensor:
        return self.op(self.first(x))


class Scaled(nn.Module):
    def forward(self, x: Tensor, by: float) -> Tensor:
        return x * by


class Told(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.op, self.scaled = Choice({"a": nn.Conv2d(3, 3, 1), "b": nn.ReLU()}), Scaled()

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(self.op(x), by=2.0)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Between, "the flops of space 'Between' are no sum over its layers"),
        (Twice, "'op/a' is no sum over options: this module also stands at 'first'"),
        (Told, "'scaled' is not known: it is called with more than tensors"),
    ],
)
def test_what_is_no_sum_is_refused(net: type[nn.Module], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        cost_table(Space(net), image=(3, 4, 4))


def test_mistakes(made: Any) -> None:
    space, table = made("tokens")
    p = uneven(space)
    with pytest.raises(SupernetError, match="'seconds' is not known; allowed: flops, parameters"):
        cost_table(space, "seconds")
    with pytest.raises(SupernetError, match="'darts_rnn'.* are not known"):
        cost_table(get_space("darts_rnn"))
    with pytest.raises(SupernetError, match="not 'darts'; use get_space"):
        cost_table("darts")  # type: ignore[arg-type]
    with pytest.raises(SupernetError, match=r"'Images' fails on an input of shape \(1, 3, 8\): "):
        cost_table(made("images")[0], image=(3, 8))
    with pytest.raises(SupernetError, match="are those of space 'Tokens', not of 'Images'"):
        expected(made("images")[0], p, table)
    first = space.tables[0].name
    with pytest.raises(SupernetError, match=re.escape(f"have shape (3, 3), not {space.tables[0].shape}")):
        expected(space, p | {first: torch.ones(3, 3)}, table)
    del p[first]
    with pytest.raises(SupernetError, match=f"lack table {first!r}"):
        expected(space, p, table)
