"""Costs of a macro structure that is registered anew: by its frame, or one line that says what is missing."""
# B batch, C channels, H height, W width

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from supernet.cost import cost_table, flops, report
from supernet.cost.cells import known_cells
from supernet.cost.count import Count, count_whole
from supernet.errors import SupernetError
from supernet.network.cells.cell import CellPlan, DiscreteCell
from supernet.network.macro import MACROS, Macro
from supernet.network.macro.frame import Fixture, Frame, Shape, Site
from supernet.space import CellSpace, Genotype, Space
from supernet.space.cells import EdgeCells

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
SHAPE = (1, 3, 8, 8)


def plans(channels: int) -> list[CellPlan]:
    """A cell, and one that reduces."""
    return [CellPlan("cell", (channels,), channels, reduction=on, preprocess=False) for on in (False, True)]


class Tiny(nn.Module):
    """stem 3x3 | cell | reducing cell | map of 2 channels"""

    def __init__(
        self, space: CellSpace, genotype: Genotype, /, *, channels: int = 4, in_chans: int = 3, affine: bool = True
    ) -> None:
        super().__init__()
        graph = space.graphs(genotype)["cell"]
        self.stem = nn.Conv2d(in_chans, channels, 3, padding=1)
        self.cells = nn.ModuleList(DiscreteCell(graph, plan, affine=affine) for plan in plans(channels))
        self.head = nn.Conv2d(channels, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.head(x)


def frame(shape: Shape, joined: Mapping[str, int], /, *, channels: int, affine: bool, **_: object) -> Frame:
    sites, state = [], (shape[0], channels, *shape[2:])
    for plan in plans(channels):
        sites.append(Site(plan, (state,)))
        state = sites[-1].output(joined["cell"])
    stem = Fixture("tiny stem", shape, partial(nn.Conv2d, shape[1], channels, 3, padding=1))
    head = Fixture("tiny head", state, partial(nn.Conv2d, channels, 2, 1))
    return Frame((stem, head), tuple(sites), affine, pool_bn=False)


def never(*_: Any, **__: Any) -> Any:
    pytest.fail("costs need no relaxed network")


@pytest.fixture
def space() -> Space:
    return EdgeCells("tiny", {}, kinds=("cell",), inputs=1, nodes=2, operations=OPERATIONS, macro="tiny")


def enter(monkeypatch: pytest.MonkeyPatch, macro: Macro) -> None:
    monkeypatch.setitem(MACROS._entries, "tiny", macro)


def whole(genotype: Genotype, space: Space) -> Count:
    return count_whole(genotype, space, SHAPE, {"channels": 6})


def test_a_new_macro_with_a_frame_has_costs(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of single networks and of the relaxed one, equal to those of the networks as they are built."""
    enter(monkeypatch, Macro(never, Tiny, frame))
    assert known_cells(space) is space
    tables = [cost_table(space, unit, image=SHAPE[1:], channels=6) for unit in ("parameters", "flops")]
    rng = random.Random(0)
    for genotype in [space.sample(rng) for _ in range(5)]:
        expected = whole(genotype, space)
        counted = report(genotype, space=space, image=SHAPE[1:], channels=6)
        assert (counted["parameters"], counted["flops"]) == (expected.parameters, expected.flops)
        assert [table.of(genotype) for table in tables] == [expected.parameters, expected.flops]


def test_a_new_macro_without_a_frame_is_counted_as_a_whole(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs the parts says in one line that there are none."""
    enter(monkeypatch, Macro(never, Tiny, frame=None))
    genotype = space.sample(random.Random(0))
    assert flops(genotype, space=space, image=SHAPE[1:], channels=6) == whole(genotype, space).flops > 0
    with pytest.raises(
        SupernetError, match=r"space 'tiny' \(networks 'tiny', without a frame\) are not known"
    ) as error:
        cost_table(space)
    assert "\n" not in str(error.value)


def test_a_macro_must_say_what_its_frame_is() -> None:
    with pytest.raises(TypeError, match="frame"):
        Macro(never, Tiny)  # type: ignore[call-arg]
