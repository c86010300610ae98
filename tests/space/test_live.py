"""Dead architectures: found by the graph as by running them, and the live neighbour by brute force."""

import itertools
import random

import torch

from supernet.network import build
from supernet.space import Genotype, get_space
from supernet.space.live import live_neighbour, log_strength

SPACE = get_space("nasbench201", operations=["none", "skip_connect", "nor_conv_1x1"])
EDGES = [f"cell/{edge.name}" for edge in SPACE.edges]  # type: ignore[attr-defined]
CHOICES = itertools.product(["none", "skip_connect", "nor_conv_1x1"], repeat=6)
EVERY = [SPACE.genotype(dict(zip(EDGES, choice, strict=True))) for choice in CHOICES]


def reaches(genotype: Genotype) -> bool:
    """By powers of the adjacency matrix of the edges that are not none."""
    adjacency = torch.zeros(4, 4)
    for name, op in genotype.decisions.items():
        source, target = map(int, name.rpartition("/")[2].split("-"))
        adjacency[source, target] = op != "none"
    return bool(sum(torch.matrix_power(adjacency, n)[0, 3] for n in (1, 2, 3)) > 0)


def test_dead_is_what_has_no_path() -> None:
    dead = [genotype for genotype in EVERY if SPACE.dead(genotype)]
    assert {g.hash for g in dead} == {g.hash for g in EVERY if not reaches(g)}
    assert SPACE.dead(dead[0]) == "cell 'cell' has no path from its input to its output"


def test_a_dead_cell_gives_the_same_for_every_input() -> None:
    """The oracle of the word itself, on a network whose cells stand alone: zero is all that leaves a dead one."""
    for genotype in random.Random(0).sample(EVERY, 12):
        net = build(genotype, channels=2, cells_per_stage=1, seed=0).eval()
        cell = net.get_submodule("cells.0")
        x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
        assert bool(cell(x).any()) is not bool(SPACE.dead(genotype))


def test_spaces_whose_nodes_always_keep_operations_have_no_dead_points() -> None:
    for name in ("darts", "nasnet"):
        space = get_space(name)
        assert not any(space.dead(space.sample(random.Random(seed))) for seed in range(5))


def test_the_live_neighbour_is_the_strongest_of_the_nearest() -> None:
    generator = torch.Generator().manual_seed(1)
    dead = [genotype for genotype in EVERY if SPACE.dead(genotype)]
    for genotype in [dead[0], *random.Random(2).sample(dead, 6)]:
        strengths = {"cell": torch.rand(6, 3, generator=generator).softmax(-1).tolist()}
        live = {g: SPACE.distance(genotype, g) for g in EVERY if not SPACE.dead(g)}
        nearest = [g for g, distance in live.items() if distance == min(live.values())]
        best = max(nearest, key=lambda g: log_strength(SPACE, g, strengths))
        assert live_neighbour(SPACE, genotype, strengths) == best
        assert live_neighbour(SPACE, best, strengths) == best
