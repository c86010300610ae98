"""Drawings: every term is drawn, labels lie clear of each other and of boxes, the files are pictures."""

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line
from PIL import Image

from supernet.errors import SupernetError
from supernet.report.cells.draw import draw_cell, draw_table, save


def _cell(nodes: list[list[tuple[str, int]]], concat: list[int]) -> Any:
    terms = tuple(tuple(SimpleNamespace(op=op, source=source) for op, source in node) for node in nodes)
    return SimpleNamespace(nodes=terms, concat=tuple(concat))


CELLS = {
    "darts": (2, _cell([[("sep_conv_3x3", 0), ("sep_conv_3x3", 1)], [("sep_conv_3x3", 0), ("sep_conv_3x3", 1)],
                        [("sep_conv_3x3", 1), ("skip_connect", 0)], [("skip_connect", 0), ("dil_conv_3x3", 2)]],
                       [2, 3, 4, 5])),
    "nasnet": (2, _cell([[("sep_conv_5x5", 1), ("sep_conv_3x3", 0)], [("sep_conv_5x5", 0), ("sep_conv_3x3", 0)],
                         [("avg_pool_3x3", 1), ("skip_connect", 0)], [("avg_pool_3x3", 0), ("avg_pool_3x3", 0)],
                         [("sep_conv_3x3", 1), ("skip_connect", 1)]], [2, 3, 4, 5, 6])),
    "nasbench201": (1, _cell([[("nor_conv_3x3", 0)], [("nor_conv_3x3", 0), ("nor_conv_3x3", 1)],
                              [("skip_connect", 0), ("nor_conv_1x1", 1), ("none", 2)]], [3])),
    "dense": (2, _cell([[("sep_conv_7x7", s) for s in range(n)] for n in range(2, 7)], [2, 3, 4, 5, 6])),
    "chain": (1, _cell([[("conv", 0)]], [1])),
}  # fmt: skip


def _arrows(figure: Figure, kind: str) -> list[FancyArrowPatch]:
    patches = figure.axes[0].patches
    return [p for p in patches if isinstance(p, FancyArrowPatch) and str(p.get_gid()).startswith(kind)]


@pytest.mark.parametrize("name", CELLS)
def test_every_term_is_drawn(name: str) -> None:
    inputs, graph = CELLS[name]
    figure = draw_cell(graph, name, inputs=inputs)
    ops = [term.op for node in graph.nodes for term in node]
    assert len(_arrows(figure, "term-")) == len(ops) and len(_arrows(figure, "concat-")) == len(graph.concat)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(t for t in texts if t in set(ops)) == sorted(ops)
    assert name in texts and "output" in texts
    # Numbered as in genotypes and cards: inputs first.
    numbers = [int(text) for text in texts if text.isdigit()]
    assert numbers == list(range(inputs, inputs + len(graph.nodes)))
    boxes = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == inputs + len(graph.nodes) + 1


@pytest.mark.parametrize("name", CELLS)
def test_labels_and_boxes_do_not_overlap(name: str) -> None:
    inputs, graph = CELLS[name]
    figure = draw_cell(graph, name, inputs=inputs)
    figure.canvas.draw()
    axes = figure.axes[0]
    ops = {term.op for node in graph.nodes for term in node}
    places = [t.get_window_extent() for t in axes.texts if t.get_text() in ops | {name}]
    places += [p.get_window_extent() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    assert not [(a, b) for a, b in combinations(places, 2) if a.overlaps(b)]
    for place in places:
        assert min(place.x0, place.y0) >= 0
        assert place.x1 <= figure.bbox.width
        assert place.y1 <= figure.bbox.height


@pytest.mark.parametrize("name", CELLS)
def test_lines_run_over_no_box_and_no_other_label(name: str) -> None:
    inputs, graph = CELLS[name]
    figure = draw_cell(graph, name, inputs=inputs)
    figure.canvas.draw()
    axes = figure.axes[0]
    ops = [term.op for node in graph.nodes for term in node]
    labels = [t for t in axes.texts if t.get_text() in ops]  # in the order of the terms
    boxes = [p.get_window_extent().padded(-2) for p in axes.patches if isinstance(p, FancyBboxPatch)]
    for i, arrow in enumerate(_arrows(figure, "")):
        polygons = arrow.get_transform().transform_path(arrow.get_path()).to_polygons(closed_only=False)
        lines = [Line(np.asarray(polygon)) for polygon in polygons]
        others = [label.get_window_extent().padded(-2) for k, label in enumerate(labels) if k != i]
        assert not [box for box in boxes + others if any(line.intersects_bbox(box, filled=False) for line in lines)], (
            arrow
        )


def test_parallel_terms_take_different_ways() -> None:
    figure = draw_cell(CELLS["nasnet"][1], "nasnet")
    ways = [np.asarray(arrow.get_path().vertices) for arrow in _arrows(figure, "term-")]
    assert not any(a.shape == b.shape and np.allclose(a, b) for a, b in combinations(ways, 2))


def test_strength_is_the_width() -> None:
    figure = draw_cell(_cell([[("a", 0), ("b", 1)]], [2]), "x", strength=[[0.1, 0.9]])
    weak, strong = (arrow.get_linewidth() for arrow in _arrows(figure, "term-"))
    assert weak < strong


def test_mistakes() -> None:
    with pytest.raises(SupernetError, match=r"node 2 takes 'a' from 2; it may take from 0\.\.1"):
        draw_cell(_cell([[("a", 2)]], [2]), "x")
    with pytest.raises(SupernetError, match="output takes from 3"):
        draw_cell(_cell([[("a", 0)]], [3]), "x")
    with pytest.raises(SupernetError, match="2 strengths were given for 1 terms"):
        draw_cell(_cell([[("a", 0)]], [2]), "x", strength=[[1, 1]])
    with pytest.raises(SupernetError, match=r"2 rows and 1 columns was given values \(1, 2\)"):
        draw_table(["a", "b"], ["c"], [[1, 2]])


def test_table() -> None:
    p = torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    figure = draw_table(["0-2", "1-2"], ["none", "skip_connect"], p, name="normal")
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["0.25", "0.75", "1.00", "0.00"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["none", "skip_connect"]
    shown: Any = axes.images[0].get_array()
    assert shown.tolist() == [[0.25, 0.75], [1, 0]]
    draw_table(["a"], ["b"], np.zeros((1, 1)))


def test_files_are_pictures_and_reproducible(tmp_path: Path) -> None:
    def figure() -> Figure:
        return draw_cell(CELLS["nasnet"][1], "nasnet")

    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        save(figure(), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.width > 300 and len(set(image.convert("L").tobytes())) > 20
    svg = (tmp_path / "a.svg").read_text()
    assert len(re.findall(r'id="term-\d+"', svg)) == 10 and svg.rstrip().endswith("</svg>")
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    with pytest.raises(SupernetError, match=r"\.gif"):
        save(figure(), tmp_path / "a.gif")
    assert len(list(tmp_path.iterdir())) == 4


def test_pyplot_is_never_loaded() -> None:
    code = "import sys, supernet.report.cells.draw; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
