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
