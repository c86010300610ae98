"""What operations are worth by taking them away: Shapley values, removals, sampled paths, capped skips, agreement."""
# E edges, O operations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.methods import Clock
from supernet.methods.look import Look
from supernet.methods.selector.best_path import BestPath
from supernet.methods.selector.removal import Removal
from supernet.methods.selector.skip_cap import SKIP, capped
from supernet.methods.verdict import Done, FixEdge
from supernet.methods.watcher.gradient_agreement import agreement
from supernet.methods.watcher.shapley import Shapley, contributions
from supernet.network import Supernet
from supernet.network.mixture import Mixture
from supernet.space import get_space
from tests.methods.test_parts import tiny


@dataclass
class Judge:
    """Stands in for a measurement: the metric of a mixture by `accuracy`, a function of what runs in each table."""

    net: Supernet
    accuracy: Callable[[dict[str, np.ndarray[Any, Any]]], float]
    calls: int = 0

    def __call__(
        self,
        mixture: Mixture | None = None,
        batches: Iterable[Sequence[Tensor]] | None = None,
        batch_statistics: bool = False,
    ) -> Mapping[str, float]:
        self.calls += 1
        mixture = self.net.mixture() if mixture is None else mixture
        runs = {}
        for site, name in enumerate(self.net.sites):
            mask = np.array(mixture.mask[site])
            assert bool((mixture.p[site].detach().numpy()[~mask] == 0).all()), "what does not run has p = 0"
            runs[name] = mask
        return {"top1": self.accuracy(runs)}


def look_at(net: Supernet, judge: Judge, epoch: int = 0) -> Look:
    batch = (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
    return Look(
        net=net, clock=Clock(epoch=epoch, epochs=10), metrics={}, genotype=net.genotype(), history=(),
        loaders=lambda _: [batch], measure=judge, problem=None, selects="val/top1",  # type: ignore[arg-type]
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- Shapley


def test_the_mean_over_all_permutations_is_the_shapley_value() -> None:
    rng = np.random.default_rng(0)
    worth = {frozenset(s): float(rng.random()) for n in range(5) for s in combinations(range(4), n)}
    drawn = np.mean([contributions(order, worth.__getitem__, 0.0) for order in permutations(range(4))], axis=0)
    for player in range(4):
        exact = 0.0
        for n in range(4):
            for others in combinations([p for p in range(4) if p != player], n):
                weight = math.factorial(n) * math.factorial(3 - n) / math.factorial(4)
                exact += weight * (worth[frozenset(others) | {player}] - worth[frozenset(others)])
        assert drawn[player] == pytest.approx(exact)
        assert drawn[player] != pytest.approx(2 * exact)


def test_a_permutation_is_cut_off_below_a_share_of_the_full_accuracy() -> None:
    calls = []

    def accuracy(left: frozenset[int]) -> float:
        calls.append(left)
        return len(left) / 10

    assert contributions([3, 1, 0, 2], accuracy, 0.6) == pytest.approx([0, 0.1, 0, 0.1])
    assert len(calls) == 3, "with 2 of 4 left the accuracy is below .6 of that of all"


def test_alphas_move_towards_what_counts() -> None:
    net = tiny()
    (table,) = [t for t in net.space.tables if t.name == net.sites[0]]
    worth = {t.name: np.random.default_rng(3).random(t.shape) for t in net.space.tables}
    judge = Judge(net, lambda runs: sum(float((worth[name] * on).sum()) for name, on in runs.items()))
    part = Shapley(permutations=3, first=0, cut=0.0)
    part.bind(net, 0)
    before = net.alpha[table.name].detach().clone()
    assert list(part.parameters()) == [], "no optimiser steps its running mean"
    part.verdict(look_at(net, judge))
    moved = (net.alpha[table.name].detach() - before).numpy()
    # An additive worth is its own Shapley value, whatever the permutation; alpha moves by .1 * .2 * z.
    z = (worth[table.name] - worth[table.name].mean()) / worth[table.name].std()
    np.testing.assert_allclose(moved, 0.02 * z, rtol=1e-3, atol=1e-6)
    part.verdict(look_at(net, judge, epoch=1))
    moved = (net.alpha[table.name].detach() - before).numpy()
    np.testing.assert_allclose(moved, (0.02 + 0.1 * (0.8 * 0.2 + 0.2)) * z, rtol=1e-3, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- removals


def test_every_edge_keeps_what_costs_most_and_every_node_the_dearest_inputs() -> None:
    net = Supernet(get_space("darts", nodes=2), executor="torch", seed=0, channels=2, layers=1, in_chans=1)
    rng = np.random.default_rng(1)
    worth = {t.name: rng.random(t.shape) for t in net.space.tables}
    judge = Judge(net, lambda runs: sum(float((worth[n] * on).sum()) for n, on in runs.items()))
    part = Removal()
    part.bind(net, 0)
    for _ in range(20):
        verdicts = part.round(look_at(net, judge))
        for verdict in verdicts:
            if isinstance(verdict, FixEdge):
                rows = [list(row) for row in net.masks()[verdict.table]]
                rows[verdict.row] = [column == verdict.column for column in range(len(rows[0]))]
                net.prune({verdict.table: tuple(tuple(row) for row in rows)})
        if any(isinstance(verdict, Done) for verdict in verdicts):
            break
    genotype = part.present(net)
    for table in net.space.tables:
        values = worth[table.name].copy()
        values[:, table.columns.index("none")] = -1
        best = values.argmax(1)
        assert table.targets is not None
        expected = set()
        for node in set(table.targets):
            rows = sorted((r for r, t in enumerate(table.targets) if t == node), key=lambda r: -values[r, best[r]])
            expected |= {(row, int(best[row])) for row in rows[:2]}
        if table.name in net.sites:
            assert set(net.space.active(genotype)[table.name]) == expected


def test_what_is_not_decided_follows_the_alphas() -> None:
    net = tiny()
    part = Removal(every=3)
    part.bind(net, 0)
    assert part.present(net) == net.genotype()
    judge = Judge(net, lambda runs: 0.0)
    assert len([v for v in part.round(look_at(net, judge)) if isinstance(v, FixEdge)]) == len(net.space.tables)
    assert part.round(look_at(net, judge)) == ()
    assert part.round(look_at(net, judge)) == ()
    assert part.round(look_at(net, judge)) != ()


def test_the_best_of_the_sampled_paths_is_the_result() -> None:
    net = Supernet(get_space("nasbench201"), executor="torch", seed=0, channels=2, cells_per_stage=1, in_chans=1)
    column = net.space.tables[0].columns.index("nor_conv_3x3")
    judge = Judge(net, lambda runs: float(next(iter(runs.values()))[:, column].sum()))
    part = BestPath(samples=30, finalists=3)
    part.bind(net, 0)
    assert part.present(net) == net.genotype()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    look = look_at(net, judge)
    assert part.round(look) == (Done(),)
    counts = [str(genotype.decisions).count("nor_conv_3x3") for genotype in part.sample(look)]
    assert str(part.present(net).decisions).count("nor_conv_3x3") == max(counts)
    assert judge.calls == len(counts) + 3
    again = BestPath(samples=30, finalists=3)
    again.bind(net, 0)
    again.load_state_dict(part.state_dict())
    assert again.present(net) == part.present(net)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_statistics_taken_anew_for_a_path_are_put_back() -> None:
    net = Supernet(get_space("nasbench201"), executor="torch", seed=0, channels=2, cells_per_stage=1, in_chans=1)
    seen = []

    def metric(runs: dict[str, np.ndarray[Any, Any]]) -> float:
        seen.append(torch.cat([b.reshape(-1).double() for name, b in net.named_buffers() if "running_mean" in name]))
        return 0.0

    part = BestPath(samples=2, finalists=1, recalibrate=1)
    part.bind(net, 0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.randn(4, 1, 8, 8)
    look = look_at(net, Judge(net, metric))
    object.__setattr__(look, "loaders", lambda _: [(images, torch.zeros(4, dtype=torch.int64))])
    part.round(look)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not torch.equal(seen[0], seen[1]), "each path has statistics of its own"


# ----------------------------------------------------------------------------------------------------- skips, agreement


@pytest.mark.parametrize("most", [0, 1, 2])
def test_capped_skips_are_those_of_brute_force(most: int) -> None:
    """Of all ways to forbid skips, the one that forbids the weakest first until few enough are taken."""
    space, rng = get_space("darts"), random.Random(0)
    (table,) = [t for t in space.tables if t.name == "normal"]
    skip = table.columns.index(SKIP)
    for _ in range(20):
        rows = [[rng.random() for _ in table.columns] for _ in table.rows]
        for row in rows:
            row[skip] *= 2
        strengths = {t.name: rows for t in space.tables}
        genotype = capped(space, strengths, "normal", most)
        taken = [row for row, column in space.active(genotype)["normal"] if column == skip]
        assert len(taken) <= most
        left = [list(row) for row in rows]
        while True:
            point = space.project({**strengths, "normal": left})
            skips = [row for row, column in space.active(point)["normal"] if column == skip]
            if len(skips) <= most:
                break
            left[min(skips, key=lambda row: rows[row][skip])][skip] = -1.0
        assert genotype.decisions == point.decisions


def test_agreement_is_the_mean_cosine_of_the_output_channels() -> None:
    one, other = torch.randn(2, 3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slow = 0.0
    for a, b in zip(one, other, strict=True):
        dot = sum(float(x) * float(y) for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True))
        norms = [math.sqrt(sum(float(x) ** 2 for x in t.reshape(-1))) for t in (a, b)]
        slow += dot / (norms[0] * norms[1]) / 3
    assert float(agreement(one, other)) == pytest.approx(slow)
    assert float(agreement(one, 3 * one)) == pytest.approx(1)
    assert float(agreement(one, -one)) == pytest.approx(-1)
    assert float(agreement(one, torch.zeros_like(one))) == 0
