"""A node has one number, in the genotype, in drawings and in the model card: inputs come first."""

import random
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from supernet.export.card import write_card
from supernet.report.drawings import draw_space
from supernet.space import CellSpace, get_space

SPACES = ("darts", "nasbench201", "nasnet", "darts_rnn")


def numbers(figure: Figure) -> list[int]:
    """The numbers on the boxes of the states, from the first to the last."""
    axes = figure.axes[0]
    boxes = [patch.get_extents() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    shown = []
    for text in axes.texts:
        at = axes.transData.transform(text.get_position())
        if any(box.contains(*at) for box in boxes) and (match := re.fullmatch(r"(?:.* \()?(\d+)\)?", text.get_text())):
            shown.append(int(match[1]))
    return sorted(shown)


@pytest.mark.parametrize("name", SPACES)
def test_genotype_drawing_and_card_agree(name: str) -> None:
    space = get_space(name)
    assert isinstance(space, CellSpace)
    genotype = space.sample(random.Random(3))
    figures, relaxed = draw_space(space, genotype), draw_space(space)
    card = write_card(genotype, title="x", parameters=1, arguments={}, data={})
    for kind, graph in space.graphs(genotype).items():
        own = [path.removeprefix(f"{kind}/") for path in genotype.decisions if path.startswith(f"{kind}/")]
        named = {int(re.findall(r"^node(\d+)|^\d+-(\d+)", path)[0][path[0].isdigit()]) for path in own}
        states = list(range(space.inputs + space.nodes))
        assert sorted(named) == states[space.inputs :]
        assert numbers(figures[kind]) == numbers(relaxed[kind]) == states
        section = card.partition(f"{kind} cell:")[2].partition("output =")[0]
        assert [int(n) for n in re.findall(r"^    node (\d+) =", section, flags=re.MULTILINE)] == sorted(named)
        assert len(graph.nodes) == len(named)


def test_an_arrow_ends_at_the_box_of_its_number() -> None:
    """The box with the number 2 stands where the terms of node2 end."""
    space = get_space("darts")
    assert isinstance(space, CellSpace)
    genotype = space.sample(random.Random(0))
    figure = draw_space(space, genotype)["normal"]
    figure.canvas.draw()
    axes = figure.axes[0]
    middle = {text.get_text(): text.get_position() for text in axes.texts}
    arrows = {str(p.get_gid()): p for p in axes.patches if isinstance(p, FancyArrowPatch)}
    terms = [(node, term) for node, terms in enumerate(space.graphs(genotype)["normal"].nodes, 2) for term in terms]
    names = ["$c_{k-2}$ (0)", "$c_{k-1}$ (1)", *map(str, range(2, 6))]
    for number, (node, term) in enumerate(terms):
        arrow = arrows[f"term-{number}"]
        path = arrow.get_transform().transform_path(arrow.get_path())
        line = axes.transData.inverted().transform(np.concatenate(path.to_polygons(closed_only=False)))
        (x0, y0), (x1, y1) = line[line[:, 0].argmin()], line[line[:, 0].argmax()]
        start, end = middle[names[term.source]], middle[str(node)]
        assert start[0] < x0 < x1 < end[0] and abs(y0 - start[1]) < 0.2 and abs(y1 - end[1]) < 0.2
