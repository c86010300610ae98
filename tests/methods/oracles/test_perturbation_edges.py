"""Edges that mutate and skips with noise: how often, by how much, and where not."""
# E edges, O operations, B batch, C channels

import pytest
import torch

from supernet.errors import SupernetError
from supernet.methods import Clock
from supernet.methods.connector.skip_noise import SkipNoise
from supernet.methods.perturbation.edge_mutation import EdgeMutation
from supernet.network import Supernet
from supernet.network.connector import EdgeSite
from supernet.space import Space, get_space
from supernet.space.choice import Choice
from tests.support.mixtures import bound, pair_net, problem_on

OPERATIONS = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
STEPS = 600


def test_an_edge_mutates_as_often_as_it_says_and_runs_an_operation_with_weights() -> None:
    net = pair_net(OPERATIONS)
    part = EdgeMutation(0.2, 0.5)
    problem = problem_on(net, lambda mixture: mixture.p[0].sum())
    p = net.mixture().p[0].detach()
    part.bind(net, 0)
    counts = torch.zeros(2, 5, dtype=torch.float64)
    for step in range(STEPS):
        part.prepare(Clock(step=step, epoch=3, epochs=4))
        mixture = part(problem)
        for row, before in zip(mixture.p[0].detach(), p, strict=True):
            if not torch.equal(row, before):
                assert sorted(row.tolist())[:-1] == [0] * 4
                assert float(row.sum()) == pytest.approx(float(before.sum()))
        counts += (mixture.p[0].detach() == 1).double()
    assert torch.equal(mixture.p[0], mixture.p[-1]) or len(set(net.sites)) > 1
    shares, n = counts.sum(-1) / STEPS, STEPS
    assert bool(((shares - 0.5).abs() < 4 * (0.25 / n) ** 0.5).all())
    assert torch.equal(counts[:, :3], torch.zeros(2, 3, dtype=torch.float64)), "none, skips and pools never"
    assert bool(((counts[:, 3] / n - 0.25).abs() < 4 * (0.25 * 0.75 / n) ** 0.5).all()), "both alike"
    part.prepare(Clock(step=0, epoch=0, epochs=4))
    assert float(part.probability) == pytest.approx(0.2)


def test_without_a_probability_the_mixture_is_as_it_was_and_the_same_step_draws_the_same() -> None:
    net = pair_net(OPERATIONS)
    problem = problem_on(net, lambda mixture: mixture.p[0].sum())
    still = bound(EdgeMutation(0, 0), net)(problem)
    assert all(torch.equal(a, b) for a, b in zip(still.p, net.mixture().p, strict=True))
    one, other = (bound(EdgeMutation(0.5, 0.5), net, Clock(step=7))(problem) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.p, other.p, strict=True))


def test_a_pruned_operation_is_never_run() -> None:
    net = pair_net(OPERATIONS)
    net.prune({"normal": ((True, True, True, False, True),) * 2})
    part = EdgeMutation(1, 1)
    part.bind(net, 0)
    for step in range(10):
        part.prepare(Clock(step=step))
        mixture = part(problem_on(net, lambda mixture: mixture.p[0].sum()))
        assert mixture.p[0][:, 4].tolist() == [1, 1]


def test_a_space_without_weights_is_one_line() -> None:
    class Net(torch.nn.Module):
        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.act = Choice([torch.nn.ReLU(), torch.nn.GELU()])
            self.head = torch.nn.Linear(4, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.act(x))
            return logits

    net = Supernet(Space(Net), seed=0)
    with pytest.raises(SupernetError, match="edge_mutation runs one operation with weights, and no option of space"):
        bound(EdgeMutation(), net)


def test_noise_on_skips_has_the_published_variance_and_is_off_in_evaluation() -> None:
    part = SkipNoise(scale=0.2)
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(32, 8, 8, 8, generator=generator, dtype=torch.float64) + 5
    site = EdgeSite(site=0, table="normal", row=0, source=0, node=2, stride=1)
    outputs = {"skip_connect": x, "sep_conv_3x3": x}
    torch.manual_seed(1)
    noisy = part(site, x, outputs)
    assert noisy["sep_conv_3x3"] is x
    noise, n = noisy["skip_connect"] - x, x.numel()
    variance = 0.04 * float(x.var())
    assert abs(float(noise.mean())) < 4 * (variance / n) ** 0.5
    assert abs(float(noise.var()) - variance) < 4 * variance * (2 / n) ** 0.5
    assert abs(float(noise.var()) - 2 * variance) > 4 * variance * (2 / n) ** 0.5
    part.eval()
    assert part(site, x, outputs) is outputs
    with pytest.raises(SupernetError, match="skip_noise: scale=-1 must be 0 or more"):
        SkipNoise(scale=-1)
    with pytest.raises(SupernetError, match="adds to outputs of skip_connect, which space 'nas_bench_macro'"):
        SkipNoise().check(get_space("nas_bench_macro"))
