"""Each zero-cost score against its formula, written out a second time with loops, closed forms or explicit matrices."""
# N samples, C channels, K classes, P weights

import itertools
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from supernet import build, cost, get_space
from supernet.evaluate.zero_cost import score

N, K = 4, 3
TARGETS = torch.tensor([0, 1, 2, 1])


def images(seed: int = 0, n: int = N) -> Tensor:
    return torch.randn(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_net(act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """A convolution and a linear layer, 20 weights; smooth with tanh."""
    return nn.Sequential(nn.Conv2d(1, 2, 2), act(), nn.Flatten(), nn.Linear(8, K, bias=False)).double()


class TwoBranches(nn.Module):
    """ReLUs as a module and as a function, and one that does not reach the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(9, 4), nn.Linear(4, 5), nn.ReLU(inplace=True)
        self.last = nn.Linear(5, K)

    def codes(self, x: Tensor) -> list[np.ndarray]:
        a = self.first(x.flatten(1))
        b = self.second(torch.clamp(a, min=0))
        return [(a > 0).numpy(), (b > 0).numpy()]

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x.flatten(1)))
        torch.relu(x - 0.3)  # leads nowhere
        return self.last(F.relu(self.second(x)))


def test_controls() -> None:
    genotype = get_space("nasbench201").sample(random.Random(0))
    network = build(genotype, channels=2, cells_per_stage=1, num_classes=K, seed=0)
    batches = [(torch.randn(2, 3, 8, 8), TARGETS[:2])]
    arguments = {"channels": 2, "cells_per_stage": 1, "num_classes": K}
    assert score("params", network, batches) == sum(p.numel() for p in network.parameters())
    assert score("params", network, batches) == cost.parameters(genotype, **arguments)
    assert score("flops", network, batches) == cost.flops(genotype, image=(3, 8, 8), **arguments)
    conv = nn.Conv2d(1, 2, 2)
    assert score("flops", conv, [(torch.randn(2, 1, 3, 3), None)]) == 2 * 2 * 4 * 4  # channels, places, taps, 2 each


def test_synflow_of_a_linear_network_in_closed_form() -> None:
    """Without biases each layer's sum is R = 1'|W3||W2||W1|1 by Euler's theorem, whatever the norm between them."""
    net = nn.Sequential(
        nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False)
    )
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm1d)
    nn.init.constant_(norm.weight, -3.0)
    norm.running_var.fill_(7.0)
    w1, w2, w3 = (p.detach().double().abs().numpy() for name, p in net.named_parameters() if p.dim() == 2)
    total = (w3 @ w2 @ w1).sum()
    assert score("synflow", net, [(torch.randn(2, 4), TARGETS[:2])]) == pytest.approx(3 * total, rel=1e-12)


def test_synflow_in_single_precision_would_overflow() -> None:
    net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
    for p in net.parameters():
        nn.init.constant_(p, -1e15)
    expected = 3 * 8 * 2 * 1e45  # 2^3 paths to each of 2 outputs
    assert score("synflow", net, [(torch.randn(2, 2), None)]) == pytest.approx(expected, rel=1e-6)


def explicit(net: nn.Sequential, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """(weights by layer, all of them [P], gradient [P], Hessian [P, P]) of the mean cross-entropy."""
    names = ["0.weight", "3.weight"]
    layers = [net.get_parameter(name).detach() for name in names]

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([w.numel() for w in layers])
        logits = functional_call(net, {n: p.view_as(w) for n, p, w in zip(names, parts, layers, strict=True)}, (x,))
        return -logits.log_softmax(1)[torch.arange(len(x)), TARGETS].mean()

    flat = torch.cat([w.flatten() for w in layers])
    gradient = torch.autograd.functional.jacobian(loss, flat)
    return layers, flat, gradient, torch.autograd.functional.hessian(loss, flat)


def test_scores_of_gradients_against_explicit_derivatives() -> None:
    net = small_net()
    expected: dict[str, list[float]] = {"snip": [], "plain": [], "grad_norm": [], "grasp": []}
    for seed in (0, 1):
        layers, w, g, hessian = explicit(net, images(seed))
        expected["snip"].append(float((w * g).abs().sum()))
        expected["plain"].append(float(w @ g))
        expected["grad_norm"].append(sum(float(part.norm()) for part in g.split([x.numel() for x in layers])))
        expected["grasp"].append(-float(w @ hessian @ g))
    batches = [(images(seed), TARGETS) for seed in (0, 1)]
    for name, values in expected.items():
        assert score(name, net, batches[:1]) == pytest.approx(values[0], rel=1e-10)
        assert score(name, net, batches) == pytest.approx(np.mean(values), rel=1e-10)


def test_l2_is_a_sum_of_norms() -> None:
    net = small_net()
    expected = sum(math.sqrt(sum(v * v for v in net.get_parameter(f"{i}.weight").flatten().tolist())) for i in (0, 3))
    assert score("l2", net, [(images(), TARGETS)]) == pytest.approx(expected, rel=1e-12)


def test_fisher_by_a_loop() -> None:
    """The activation works in place on what is read."""
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ELU(inplace=True), nn.Flatten(), nn.Linear(8, K)).double()
    a = F.conv2d(images(), net[0].weight, net[0].bias).detach().requires_grad_()
    b = F.linear(F.elu(a).flatten(1), net[3].weight, net[3].bias)
    loss = F.cross_entropy(b, TARGETS)
    da, db = torch.autograd.grad(loss, [a, b])
    a, b = a.detach(), b.detach()
    total = 0.0
    for c in range(2):
        for n in range(N):
            inner = sum(float(a[n, c, i, j] * da[n, c, i, j]) for i in range(2) for j in range(2))
            total += 0.5 * inner**2 / N
    for k, n in itertools.product(range(K), range(N)):
        total += 0.5 * float(b[n, k] * db[n, k]) ** 2 / N
    assert score("fisher", net, [(images(), TARGETS)]) == pytest.approx(total, rel=1e-10)


def test_fisher_of_tokens_takes_the_last_axis_for_channels() -> None:
    net, x = nn.Linear(2, 3, bias=False).double(), torch.randn(2, 4, 2, dtype=torch.float64)
    y = x @ net.weight.detach().T  # [N, tokens, C], and the loss is half the sum of squares
    expected = sum(0.5 * np.mean([float((y[n, :, c] ** 2).sum()) ** 2 for n in range(2)]) for c in range(3))
    value = score("fisher", net, [(x, None)], loss=lambda outputs, targets: 0.5 * (outputs**2).sum())
    assert value == pytest.approx(expected, rel=1e-10)


def test_jacov_against_numpy() -> None:
    net, x = small_net(), images()
    rows = [torch.autograd.functional.jacobian(lambda one: net(one[None]).sum(), one).flatten().numpy() for one in x]
    v = np.linalg.eigvals(np.corrcoef(np.stack(rows))).real
    expected = -sum(math.log(e + 1e-5) + 1 / (e + 1e-5) for e in v)
    assert score("jacov", net, [(x, TARGETS)]) == pytest.approx(expected, rel=1e-6)


def test_nwot_by_loops_over_codes() -> None:
    net, x = TwoBranches().double(), images()
    with torch.no_grad():
        codes = net.codes(x)
    kernel = [[sum(int(a == b) for code in codes for a, b in zip(code[i], code[j], strict=True)) for j in range(N)]
              for i in range(N)]  # fmt: skip
    assert score("nwot", net, [(x, TARGETS)]) == pytest.approx(math.log(abs(np.linalg.det(kernel))), rel=1e-9)


def test_swap_counts_the_patterns_of_neurons() -> None:
    net, x = TwoBranches().double(), images()
    with torch.no_grad():
        codes = net.codes(x)
    patterns = {tuple(code[:, f].tolist()) for code in codes for f in range(code.shape[1])}
    assert 1 < len(patterns) < 9
    assert score("swap", net, [(x, TARGETS)]) == len(patterns)
    params = sum(p.numel() for p in net.parameters())
    held = score("swap", net, [(x, TARGETS)], mu=params - 20, sigma=900.0)
    assert held == pytest.approx(len(patterns) * math.exp(-400 / 900), rel=1e-12)


def test_zen_of_one_convolution_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, K))
    net, noise, expected = net.double(), torch.Generator().manual_seed(5), []
    for _ in range(2):
        kernel = torch.randn(2, 1, 2, 2, generator=noise).double()
        torch.randn(K, 2, generator=noise)  # of the linear layer, behind the features
        z, more = (torch.randn(N, 1, 3, 3, generator=noise).double() for _ in range(2))
        features, variances = [], []
        for inputs in (z, z + 0.01 * more):
            y = F.conv2d(inputs, kernel).numpy()
            mean, var = y.mean((0, 2, 3), keepdims=True), y.var((0, 2, 3), keepdims=True)
            features.append((y - mean) / np.sqrt(var + 1e-5))
            variances.append(var.mean())
        distance = np.mean([np.abs(features[0][n] - features[1][n]).sum() for n in range(N)])
        expected.append(math.log(distance) + math.log(math.sqrt(variances[0])))
    value = score("zen", net, [(images(), TARGETS)], seed=5, repeats=2)
    assert value == pytest.approx(np.mean(expected), rel=1e-9)


def test_zen_without_pooling_reads_the_outputs() -> None:
    noise = torch.Generator().manual_seed(0)
    kernel = torch.randn(2, 3, generator=noise)
    change = 0.5 * [torch.randn(4, 3, generator=noise) for _ in range(2)][1]
    expected = math.log(float((change @ kernel.T).abs().sum(1).mean()))
    value = score("zen", nn.Linear(3, 2), [(torch.randn(4, 3), TARGETS)], repeats=1, gamma=0.5)
    assert value == pytest.approx(expected, rel=1e-4)


def test_zico_by_numpy_over_two_batches() -> None:
    """The first input is 0 in both batches, so its weights have a gradient of 0 and are skipped."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, K)).double()
    batches = []
    for seed in (0, 1):
        x = torch.randn(N, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x[:, 0] = 0
        batches.append((x, TARGETS))
    expected = 0.0
    for i in (0, 2):
        g = np.stack(
            [
                torch.autograd.grad(F.cross_entropy(net(x), t), net.get_parameter(f"{i}.weight"))[0].flatten().numpy()
                for x, t in batches
            ]
        )
        std = g.std(0)
        assert (i == 2) or (std == 0).sum() == 4
        expected += math.log(sum(np.abs(g[:, p]).mean() / std[p] for p in range(g.shape[1]) if std[p] > 0))
    assert score("zico", net, batches) == pytest.approx(expected, rel=1e-10)


def test_ntk_against_explicit_jacobians() -> None:
    """Weights alone: the bias of the convolution is not in the kernel."""
    net, x = small_net(), images()
    names = ["0.weight", "3.weight"]

    def total(*weights: Tensor, one: Tensor) -> Tensor:
        return functional_call(net, dict(zip(names, weights, strict=True)), (one[None],)).sum()

    weights = tuple(net.get_parameter(name).detach() for name in names)
    rows = []
    for one in x:
        parts = torch.autograd.functional.jacobian(lambda *w, one=one: total(*w, one=one), weights)
        rows.append(torch.cat([part.flatten() for part in parts]).numpy())
    v = np.linalg.eigvalsh(np.stack(rows) @ np.stack(rows).T)
    assert score("ntk", net, [(x, TARGETS)]) == pytest.approx(v[-1] / v[0], rel=1e-8)
    halves = [(x[:2], TARGETS[:2]), (x[2:], TARGETS[2:])]
    assert score("ntk", net, halves) == pytest.approx(v[-1] / v[0], rel=1e-8)  # one kernel of all samples


def test_linear_regions_of_a_plane() -> None:
    """Three lines in general position cut a plane into 7 pieces; the grid meets all of them."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
    axis = torch.linspace(-3, 3, 41) + 0.01
    grid = torch.cartesian_prod(axis, axis)
    assert score("linear_regions", net, [(grid, None)]) == 7
    left = grid[grid[:, 0] < 0]
    assert score("linear_regions", net, [(left, None)]) == 3  # two lines cross the half plane x < 0
    assert score("linear_regions", net, [(left, None), (grid, None)]) == 7


def test_linear_regions_of_crops() -> None:
    """Drawn often enough, the crops are all that there are."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1)).double()
    pictures = torch.randn(2, 1, 5, 4, dtype=torch.float64)
    crops = [pictures[n, :, i : i + 3, j : j + 3] for n in range(2) for i in range(3) for j in range(2)]
    with torch.no_grad():
        patterns = {tuple((net[0](crop[None]) > 0).flatten().tolist()) for crop in crops}
    assert 1 < len(patterns) < 8
    assert score("linear_regions", net, [(pictures, None)], samples=1500) == len(patterns)
    assert score("linear_regions", net, [(pictures, None)], samples=2) <= 2
