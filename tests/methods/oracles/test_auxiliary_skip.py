"""The auxiliary skip: what it adds, how it fades, and that it is no candidate; unchosen weights stay to the bit."""
# B batch, C channels, H height, W width

import pytest
import torch

from supernet.config import MethodConfig, WeightConfig
from supernet.methods import Clock
from supernet.methods.connector.auxiliary_skip import AuxiliarySkip
from supernet.network.connector import AUXILIARY, EdgeSite
from tests.methods.test_parts import batches, step_of, tiny


def test_it_adds_beta_times_the_input() -> None:
    part = AuxiliarySkip()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    edge = EdgeSite(site=0, table="normal", row=0, source=0, node=2, stride=1)
    betas = []
    for epoch in range(4):
        part.prepare(Clock(epoch=epoch, epochs=4))
        outputs = part(edge, x, {"skip_connect": x})
        assert set(outputs) == {"skip_connect", AUXILIARY}
        betas.append(float((outputs[AUXILIARY] / x).mean()))
        torch.testing.assert_close(outputs[AUXILIARY], x * betas[-1])
    assert betas == pytest.approx([1, 0.75, 0.5, 0.25]), "the last epoch has 1 / T, not 0"


@pytest.mark.parametrize("executor", ["reference", "torch"])
def test_without_it_a_search_is_darts(executor: str) -> None:
    (images, _), _ = batches()
    outputs = {}
    for first in (None, 0.0, 1.0):
        net = tiny(executor, layers=3, channels=4)
        connectors = [] if first is None else [{"name": "auxiliary_skip", "first": first}]
        step = step_of(MethodConfig(connectors=connectors), net)
        step.prepare(0)
        outputs[first] = net(images).detach()
    torch.testing.assert_close(outputs[None], outputs[0.0])
    assert not torch.allclose(outputs[None], outputs[1.0])


def test_both_executors_agree_on_it_and_its_reductions_learn() -> None:
    losses = []
    for executor in ("reference", "torch"):
        step = step_of(MethodConfig(connectors=["auxiliary_skip"]), tiny(executor, layers=3, channels=4))
        (part,) = step.method.connectors
        before = [w.detach().clone() for w in part.parameters()]
        assert before, "three layers have two cells that halve the size"
        losses.append(step(*batches(), epoch=0, step=0)["train"]["loss"])
        assert all(not torch.equal(b, w) for b, w in zip(before, part.parameters(), strict=True))
    torch.testing.assert_close(*losses)


def test_it_is_never_chosen_and_has_no_alpha() -> None:
    net = tiny(layers=3, channels=4)
    shapes = [alpha.shape for alpha in net.alphas()]
    step = step_of(MethodConfig(connectors=["auxiliary_skip"]), net)
    assert [alpha.shape for alpha in step.alphas] == shapes
    assert AUXILIARY not in str(step.method.present(net).decisions)


@pytest.mark.parametrize("on_device", [False, True])
def test_what_was_not_drawn_stays_to_the_bit_under_decay_and_momentum(on_device: bool) -> None:
    net = tiny()
    method = MethodConfig(sampler="uniform", hypergradient="none", after_update=["keep_unchosen"])
    step = step_of(method, net, weights=WeightConfig(weight_decay=0.1))
    step.method.gates_on_device = on_device
    moved = []
    for number in range(3):
        before = [w.detach().clone() for w in step.weights]
        step.prepare(0, number)
        p = step.method.mixture(net, "weights").p
        step.run(batches(number)[0], None)
        moved.append(sum(not torch.equal(b, w) for b, w in zip(before, step.weights, strict=True)))
        for site in range(len(net.sites)):
            for row, column in (p[site] == 0).nonzero().tolist():
                for w in net.parameters_of(site, row, column):
                    (place,) = [i for i, other in enumerate(step.weights) if other is w]
                    assert torch.equal(before[place], w), (site, row, column)
    assert all(0 < count < len(step.weights) for count in moved)
