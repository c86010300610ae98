"""Terms of the alphas' loss against closed forms and enumeration; selectors by a threshold, and of any sign."""
# E edges, O operations

from itertools import product

import pytest
import torch
from torch import Tensor

from supernet.cost import cost_table
from supernet.errors import SupernetError
from supernet.methods import Clock
from supernet.methods.connector.entangled import Entangled
from supernet.methods.regulariser.entropy import Entropy
from supernet.methods.regulariser.expected_cost import ExpectedCost
from supernet.methods.regulariser.penalty import AlphaPenalty
from supernet.methods.regulariser.zero_one import ZeroOne
from supernet.methods.relaxation.sigmoid import Sigmoid
from supernet.methods.selector.support import Support
from supernet.methods.selector.threshold import Threshold
from supernet.network import Supernet
from supernet.space import get_space
from tests.support.problems import problem_of

OPERATIONS = ["skip_connect", "nor_conv_3x3"]


def tiny(name: str = "darts") -> Supernet:
    if name == "darts":
        return Supernet(get_space("darts", nodes=2), seed=0, executor="torch", channels=2, layers=1).double()
    space = get_space("nasbench201", operations=OPERATIONS)
    return Supernet(space, seed=0, executor="torch", channels=2, cells_per_stage=1).double()


def spread(net: Supernet, scale: float = 1.0) -> None:
    """Alphas away from 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for alpha in net.alphas():
            alpha.copy_(scale * torch.randn(alpha.shape, generator=generator, dtype=torch.float64))


def added(part: AlphaPenalty, net: Supernet, epoch: int = 0) -> list[Tensor]:
    part.bind(net, 0)
    part.prepare(Clock(epoch=epoch, epochs=3))
    gradients = part.alphas(problem_of([], net.alphas(), lambda: torch.zeros(()), lambda: torch.zeros(()), 0.1))
    assert gradients is not None
    return list(gradients)


def test_the_gradient_of_the_entropy_is_its_closed_form() -> None:
    """dH/da_o = -p_o (log p_o + H) in each row; the factor runs in a line."""
    net = tiny()
    spread(net)
    for epoch, factor in enumerate((0.3, 0.2, 0.1)):
        gradients = added(Entropy(0.3, 0.1), net, epoch)
        for alpha, gradient in zip(net.alphas(), gradients, strict=True):
            p = torch.softmax(alpha.detach(), -1)
            entropy = -(p * p.log()).sum(-1, keepdim=True)
            torch.testing.assert_close(gradient, -factor * p * (p.log() + entropy) / len(p), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_gradient_of_zero_one_is_its_closed_form_and_vanishes_at_the_start(norm: str) -> None:
    net, part = tiny(), ZeroOne(10.0, norm)
    relaxation = Sigmoid()
    relaxation.bind(net, 0)
    net.relaxation = relaxation
    if norm == "l2":
        assert all(not gradient.any() for gradient in added(part, net))
    spread(net)
    options = sum(alpha.numel() for alpha in net.alphas())
    for alpha, gradient in zip(net.alphas(), added(part, net), strict=True):
        p = torch.sigmoid(alpha.detach())
        outer = 2 * (p - 0.5) if norm == "l2" else torch.sign(p - 0.5)
        torch.testing.assert_close(gradient, -10 * outer * p * (1 - p) / options, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", ["linear", "log", "power"])
def test_the_expected_cost_is_that_of_all_points(form: str) -> None:
    """E = sum_g P(g) cost(g) over the 64 cells; the gradients of L F(E) / F(E), or of the linear term."""
    net = tiny("nasbench201")
    spread(net)
    table = cost_table(net.space, "flops", channels=2, cells_per_stage=1)
    (name,) = [t.name for t in net.space.tables]
    alpha = net.alpha[name]

    def cost_of(p: Tensor) -> Tensor:
        points = []
        for columns in product(range(2), repeat=6):
            decisions = {f"{name}/{e.name}": OPERATIONS[o] for e, o in zip(net.space.edges, columns, strict=True)}  # type: ignore[attr-defined]
            chance = torch.stack([p[row, o] for row, o in enumerate(columns)]).prod()
            points.append(chance * table.of(net.space.genotype(decisions)))
        return torch.stack(points).sum()

    cost, loss = cost_of(torch.softmax(alpha, -1)), torch.tensor(1.7, dtype=torch.float64)
    even = float(cost_of(torch.full((6, 2), 1 / 2, dtype=torch.float64)))
    factor = 0.6
    total = {
        "linear": factor * (cost - even) / even,
        "log": loss * cost.log() ** factor / (cost.log() ** factor).detach(),
        "power": loss * (cost / even) ** factor / ((cost / even) ** factor).detach(),
    }[form]
    (exact,) = torch.autograd.grad(total, alpha)
    part = ExpectedCost(form, factor)
    part.bind(net, 0)
    zero = torch.zeros(())
    gradients = part.alphas(problem_of([], net.alphas(), lambda: zero, lambda: zero, 0.1, value=loss))
    assert gradients is not None
    torch.testing.assert_close(gradients[0], exact, rtol=1e-6, atol=1e-12)


# ----------------------------------------------------------------------------------------------------------- selectors


def test_a_threshold_fills_up_and_says_how_much() -> None:
    net = tiny()
    net.relaxation = Sigmoid()
    spread(net, 2.0)
    part = Threshold(0.85)
    genotype = part.present(net)
    assert genotype == net.genotype()
    strengths = net.strengths()
    weak = 0
    for name, places in net.space.active(genotype).items():
        assert len(places) == 4, "two edges a node"
        weak += sum(strengths[name][row][column] <= 0.85 for row, column in places)

    class Seen:
        pass

    look = Seen()
    look.net = net  # type: ignore[attr-defined]
    assert part.end_epoch(look) == {"filled_up_edges": weak}  # type: ignore[arg-type]
    assert Threshold(0.0).end_epoch(look) == {"filled_up_edges": 0}  # type: ignore[arg-type]
    for name in ("nasbench201", "nas_bench_macro"):
        with pytest.raises(SupernetError, match=f"each decision of space '{name}' takes exactly one option"):
            part.check(get_space(name))


def test_support_takes_negative_weights_too() -> None:
    net = tiny("nasbench201")
    (table,) = net.space.tables
    p = torch.tensor([[0.0, -0.9], [0.1, 0.0], [-0.2, 0.0], [0.0, 0.4], [0.0, -0.1], [0.3, 0.0]], dtype=torch.float64)
    net.relaxation = lambda alpha, _: p
    assert [column for _, column in net.space.active(Support().present(net))[table.name]] == [1, 0, 0, 1, 1, 0]


def test_entanglement_needs_undecided_sizes() -> None:
    with pytest.raises(SupernetError, match="no layer of space 'darts' has undecided sizes"):
        Entangled().check(get_space("darts"))
    macro = Supernet(get_space("nas_bench_macro"), seed=0, channels=2, features=4)
    with pytest.raises(SupernetError, match="no layer of space 'nas_bench_macro' has undecided sizes"):
        Entangled().bind(macro, 0)
