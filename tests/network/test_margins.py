"""Margins and how far alphas are from uniform, by hand."""

from math import log

import pytest

from supernet.network.margins import UNDECIDED, decided, margins
from supernet.space import get_space

SPACE = get_space("nasbench201", operations=["none", "skip_connect", "nor_conv_1x1"])
ALL = {"cell": ((True,) * 3,) * 6}
UNIFORM = [[1 / 3] * 3] * 5


def test_the_lead_of_the_strongest() -> None:
    strengths = {"cell": [[0.2, 0.5, 0.3], *UNIFORM]}
    first, second, *_ = margins(SPACE, strengths, ALL)
    assert (first.row, first.first, first.second) == ("0-1", "skip_connect", "nor_conv_1x1")
    assert first.lead == pytest.approx(0.2)
    assert (second.first, second.lead) == ("none", 0), "of equals the first"
    assert "skip_connect 0.5000 before nor_conv_1x1 0.3000 (margin 0.2000)" in str(first)
    masks = {"cell": ((True, True, False), (True, False, False), *ALL["cell"][2:])}
    masked = margins(SPACE, strengths, masks)
    assert masked[0].second == "none"
    assert len(masked) == 5, "a row with one option left has nothing to decide"


def test_margins_follow_what_the_projection_compares() -> None:
    """A node of DARTS never takes none, and chooses its inputs: the winner is what is in the genotype."""
    space = get_space("darts", nodes=2, operations=["none", "skip_connect", "sep_conv_3x3"])
    row = [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.1, 0.55, 0.35]]
    strengths = {"normal": row, "reduce": row}
    masks = dict.fromkeys(strengths, ((True,) * 3,) * 5)
    genotype = space.project(strengths)
    found = margins(space, strengths, masks)
    for margin in (m for m in found if m.table == "normal" and "-" in m.row):
        source, _, target = margin.row.partition("-")
        chosen = genotype.decisions.get(f"normal/node{target}/inputs/{source}/op")
        assert chosen in (None, margin.first)
        assert "none" not in (margin.first, margin.second)
    inputs = [m for m in found if m.table == "normal" and m.row.startswith("inputs")]
    assert [(m.row, m.first, m.second) for m in inputs] == [("inputs of node 3", "state 1", "state 0")]
    assert inputs[0].lead == pytest.approx(0.5 - 0.4)
    assert genotype.decisions["normal/node3/inputs"] == ("1", "2")


def test_decided_is_0_for_uniform_and_1_for_certain() -> None:
    assert decided(SPACE, {"cell": [[1 / 3] * 3] * 6}, ALL) == pytest.approx(0)
    assert decided(SPACE, {"cell": [[0, 1, 0]] * 6}, ALL) == 1
    p = [0.2, 0.5, 0.3]
    one = 1 + sum(x * log(x) for x in p) / log(3)
    assert decided(SPACE, {"cell": [p, *UNIFORM]}, ALL) == pytest.approx(one / 6)
    assert decided(SPACE, {"cell": [[2 * x for x in p], *UNIFORM]}, ALL) == pytest.approx(one / 6)
    two = {"cell": ((True, True, False), *ALL["cell"][1:])}
    assert decided(SPACE, {"cell": [[0.5, 0.5, 0], *UNIFORM]}, two) == pytest.approx(0)
    assert decided(SPACE, {"cell": [[0.34, 0.33, 0.33], *UNIFORM]}, ALL) < UNDECIDED
