"""The recurrent cell of DARTS: the relaxed cell against a slow loop, activated against discrete, gradients, masks."""
# B batch, T time steps, K characters, H hidden units, E edges, O operations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import Mixture, Supernet, build
from supernet.network.cells.recurrent import ACTIVATIONS, NORMS
from supernet.space import EdgeCells, Genotype, get_space

SMALL: dict[str, Any] = {"hidden": 3, "num_classes": 5}
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {  # each activation written out
    "tanh": lambda z: (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    "relu": lambda z: z * (z > 0),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "identity": lambda z: z,
}


def relaxed(nodes: int = 8, seed: int = 0, **arguments: Any) -> Supernet:
    """A small supernet in float64 with alphas that are not uniform."""
    net = Supernet(get_space("darts_rnn", nodes=nodes), seed=seed, **SMALL | arguments).double()
    generator = torch.Generator().manual_seed(seed)
    for alpha in net.alphas():
        alpha.data.copy_(torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    return net


def characters(batch: int = 4, length: int = 6) -> Tensor:
    return torch.randint(SMALL["num_classes"], (batch, length), generator=torch.Generator().manual_seed(1))


def points(count: int) -> list[Genotype]:
    rng = random.Random(0)
    return [get_space("darts_rnn").sample(rng) for _ in range(count)]


def oracle(net: Supernet, x: Tensor, p: Sequence[Sequence[Any]], norm: str) -> Tensor:
    """Logits [B, K, T] of the definition, sample by sample, step by step, operation by operation (no batch norm)."""
    body: Any = net.body
    cell, table = body.cell, net.space.tables[0]

    def normed(s: Tensor) -> Tensor:
        return (s - s.mean()) / (s.var(unbiased=False) + 1e-5).sqrt() if norm == "layer" else s

    def highway(s: Tensor, product: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        c, z = product[: len(s)], product[len(s) :]
        return s + PLAIN["sigmoid"](c) * (f(z) - s)

    logits = []
    for sample in x:
        h, row_of_logits = torch.zeros(SMALL["hidden"], dtype=torch.float64), []
        for character in sample:
            read = cell.w_x.weight @ body.embedding.weight[character] + cell.w_h.weight @ h
            states = [normed(highway(h, read, PLAIN["tanh"]))]
            for i in range(1, 1 + len(cell.w)):
                total = torch.zeros_like(h)
                for row, name in enumerate(table.rows):
                    source, target = map(int, name.split("-"))
                    for column, op in enumerate(table.columns):
                        if target == i and op != "none":
                            product = cell.w[i - 1].weight @ states[source]
                            total = total + p[row][column] * highway(states[source], product, PLAIN[op])
                states.append(normed(total))
            h = sum(states[1:], torch.zeros_like(h)) / len(cell.w)
            row_of_logits.append(body.decoder.weight @ h + body.decoder.bias)
        logits.append(torch.stack(row_of_logits, 1))
    return torch.stack(logits)


def test_the_space_is_that_of_the_paper() -> None:
    space = get_space("darts_rnn")
    assert space.size == math.factorial(8) * 4**8
    (table,) = space.tables
    assert table.shape == (36, 5) and table.rows[:4] == ("0-1", "0-2", "1-2", "0-3")
    assert space.k == 1


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_relaxed_against_a_slow_loop(norm: str) -> None:
    net, x = relaxed(nodes=3, norm=norm), characters(2, 4)
    p = torch.softmax(net.alphas()[0].detach(), -1)
    assert (net(x) - oracle(net, x, p.tolist(), norm)).abs().max() <= 1e-9


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("genotype", points(3), ids=lambda g: g.hash[:4])
def test_activated_is_what_discretize_makes(genotype: Genotype, norm: str) -> None:
    net, x = relaxed(norm=norm), characters()
    plain, _ = net.discretize(genotype)
    net.activate(genotype)
    for mode in (True, False):
        y, z = net.train(mode)(x), plain.train(mode)(x)
        assert y.shape == (4, SMALL["num_classes"], 6) and (y - z).abs().max() <= 1e-9
    if norm == "none":  # the plain network of the paper has none, so `build` makes the same
        built = build(genotype, **SMALL).double()
        built.load_state_dict(plain.state_dict())
        assert torch.equal(built(x), plain(x))
        p = [[0.0] * 5 for _ in range(36)]
        for row, column in net.space.active(genotype)["recurrent"]:
            p[row][column] = 1.0
        assert (plain(x[:2, :3]) - oracle(net, x[:2, :3], p, norm)).abs().max() <= 1e-9


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_every_alpha_and_every_weight_gets_a_gradient(norm: str) -> None:
    net = relaxed(norm=norm)
    net(characters()).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        seen = parameter.grad != 0
        assert seen.all() if name.startswith("alpha.") else seen.any(), name


def test_the_gradient_of_the_alphas_against_differences() -> None:
    net, x = relaxed(nodes=2), characters(2, 3)

    def value(alpha: Tensor) -> Tensor:
        return net.body.run(x, Mixture((torch.softmax(alpha, -1),), (((True,) * 5,) * 3,))).square().sum()

    alpha = net.alphas()[0].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(value, alpha)
    assert torch.autograd.gradgradcheck(value, alpha)  # second-order methods differentiate twice


def test_what_the_mask_leaves_out_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that each activation works on, one node at one step, and the same output as with p set to zero."""
    rows: dict[str, int] = {}

    def counted(name: str, f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def work(z: Tensor) -> Tensor:
            rows[name] = rows.get(name, 0) + len(z)
            return f(z)

        return work

    for name in list(ACTIVATIONS):
        monkeypatch.setitem(ACTIVATIONS._entries, name, counted(name, ACTIVATIONS[name]))
    net, x = relaxed(nodes=3, norm="none"), characters(2, 1)
    # rows 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; columns none, tanh, relu, sigmoid, identity. Node 2 takes nothing.
    mask = [[False] * 5 for _ in range(6)]
    for row, column in [(0, 1), (3, 2), (3, 4), (5, 2), (4, 0)]:
        mask[row][column] = True
    p = torch.softmax(net.alphas()[0].detach(), -1)
    y = net.body.run(x, Mixture((p,), (tuple(map(tuple, mask)),)))
    assert rows == {"tanh": 1, "relu": 2, "identity": 1}
    assert (y - oracle(net, x, (p * torch.tensor(mask)).tolist(), "none")).abs().max() <= 1e-9


def test_it_learns_to_repeat() -> None:
    """A cell with a memory tells the character before last; nothing that reads one character could."""
    net = build(points(1)[0], hidden=16, num_classes=4, seed=0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        x = torch.randint(4, (16, 8), generator=generator)
        loss = nn.functional.cross_entropy(net(x)[:, :, 1:], x[:, :-1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_low_precision_runs() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        for norm in NORMS:
            net = Supernet(get_space("darts_rnn"), seed=0, norm=norm, **SMALL)
            assert net(characters()).isfinite().all()
            net.activate(net.genotype())
            assert net(characters()).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], told: str) -> None:
    for make in (lambda **a: Supernet(get_space("darts_rnn"), **a), lambda **a: build(points(1)[0], **a)):
        with pytest.raises(SupernetError, match=told):
            make(**SMALL | arguments)


def test_other_cells_of_one_input() -> None:
    """One operation an edge, "none" among them, and the last node alone for the output."""
    operations = ["none", "tanh", "identity"]
    cells = {"kinds": ["mine"], "inputs": 1, "nodes": 3, "operations": operations, "macro": "darts_rnn"}
    space = EdgeCells("mine", {}, **cells)
    net = Supernet(space, seed=0, **SMALL).double()
    rng = random.Random(0)
    for genotype in [space.sample(rng) for _ in range(10)] + [space.project({"mine": [[1.0, 0.0, 0.0]] * 6})]:
        net.activate(genotype)
        assert (net(characters()) - net.discretize(genotype)[0](characters())).abs().max() <= 1e-9
    with pytest.raises(SupernetError, match="one input state"):
        Supernet(EdgeCells("mine", {}, **cells | {"inputs": 2}), **SMALL)


def test_an_unknown_activation_and_images_are_refused() -> None:
    with pytest.raises(SupernetError, match="sigmoid"):
        Supernet(get_space("darts_rnn", operations=["none", "sigmod"]), **SMALL)
    with pytest.raises(SupernetError, match="data=text"):
        relaxed()(torch.rand(2, 3, 8, 8))
