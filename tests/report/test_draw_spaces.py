"""Drawings of spaces: every registered one, decided, relaxed and open; nothing overlaps, nothing is missing."""

import math
import random
import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox

from supernet.errors import GenotypeError, SupernetError
from supernet.export import export_model
from supernet.network import build
from supernet.report.drawings import card_pictures, draw_space
from supernet.report.files import picture, save
from supernet.report.shapes import plain, shades, text_width
from supernet.report.trees.columns import arrange
from supernet.report.trees.rows import tree_rows
from supernet.space import SPACES, CellSpace, Decision, Integer, KOf, OneOf, Space, get_space, published
from tests.support.covering import sampled

MODES = ("genotype", "strengths", "open")
LONG = ("sixty", "five hundred")


def one_of(name: str, *options: str, **below: tuple[Decision, ...]) -> OneOf:
    return OneOf(name, dict.fromkeys(options, ()) | below)


def block(i: int, group: str = "") -> tuple[Decision, ...]:
    return (OneOf(f"{i}/op", {"k3": (Integer("width", 8, 32, 8),), "k5": ()}, group=group),)


OWN = {
    "one": [one_of("op", "a", "b")],
    "nested": [
        one_of("stem", "conv3", "conv7"),
        one_of("block", "skip", mb=(one_of("kernel", "3", "5"), one_of("ratio", "4", "6")),
               attention=(one_of("heads", "1", "2", wide=(one_of("by", "2", "3"),)),)),
        KOf("taps", {str(i): () for i in range(5)}, 2),
    ],
    "repeat": [Integer("depth", 1, 4, opens={str(d): tuple(x for i in range(d) for x in block(i, f"depth/{i}/op"))
                                             for d in range(1, 5)})],
    "quiet": [one_of("op", "a", "b"), OneOf("act", {"relu": (), "gelu": ()}, mark="searchable", default="gelu")],
    "sixty": [one_of(f"blocks/{i}/op", *(f"operation_{k}" for k in range(10))) for i in range(60)],
    "five hundred": [one_of(f"a/very/long/path/of/modules/block{i}", "x", "y") for i in range(500)],
    "hostile": [one_of("$x$", r"\alpha", "$a$", "\x01", "<b>", "--", "x" * 300), Integer("n", 0, 5_000)],
}  # fmt: skip


def space_of(name: str) -> Space:
    return get_space(name) if name in SPACES else Space(OWN[name], name=name)


def softmax(space: Space, seed: int = 0) -> dict[str, list[list[float]]]:
    rng, found = random.Random(seed), {}
    for table in space.tables:
        drawn = [[math.exp(rng.gauss(0, 1)) * here for here in row] for row in table.mask]
        found[table.name] = [[x / total for x in row] for row, total in zip(drawn, map(sum, drawn), strict=True)]
    return found


def drawn(name: str, mode: str) -> tuple[Space, dict[str, Figure]]:
    space = space_of(name)
    genotype = space.sample(random.Random(1)) if mode == "genotype" else None
    return space, draw_space(space, genotype, softmax(space) if mode == "strengths" else None)


def boxes(figure: Figure) -> list[Bbox]:
    """Of everything with a meaning: chips, states and all lettering that stands beside them."""
    figure.canvas.draw()
    axes = figure.axes[0]
    patches = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    ends = np.array([patch.extents for patch in patches])  # x0, y0, x1, y1
    beside = []
    for extent in (text.get_window_extent() for text in axes.texts):
        x, y = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
        if not ((ends[:, 0] < x) & (x < ends[:, 2]) & (ends[:, 1] < y) & (y < ends[:, 3])).any():
            beside.append(extent)
    return patches + beside


def overlapping(found: list[Bbox]) -> list[tuple[Bbox, Bbox]]:
    """Pairs that cover each other by more than a pixel; sorted by their left end, so that few are compared."""
    found = sorted((box.padded(-1) for box in found), key=lambda box: box.x0)
    clashes = []
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            if other.x0 >= one.x1:
                break
            if one.y0 < other.y1 and other.y0 < one.y1:
                clashes.append((one, other))
    return clashes


CASES = [(name, mode) for name in [*SPACES, *(name for name in OWN if name not in LONG)] for mode in MODES]


@pytest.mark.parametrize(
    "case",
    sampled([case for case in CASES if case[0] not in SPACES or case[1] != "open"], 2),
    ids=lambda c: "-".join(c),
)
def test_every_space_draws(case: tuple[str, str]) -> None:
    name, mode = case
    space, figures = drawn(name, mode)
    assert list(figures) == (list(space.kinds) if isinstance(space, CellSpace) else ["macro"])
    for kind, figure in figures.items():
        with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters as text: their outlines take most of the time
            svg = picture(figure, "svg")
        root = ET.fromstring(svg)
        ids = {element.get("id", "") for element in root.iter()}
        if isinstance(space, CellSpace):
            arrows = {gid for gid in ids if re.fullmatch(r"(edge|term)-\d+", gid)}
            genotype = space.sample(random.Random(1))
            terms = sum(map(len, space.graphs(genotype)[kind].nodes))
            assert len(arrows) == (terms if mode == "genotype" else len(space.edges))
        else:
            rows = tree_rows(space)
            lettered = {gid for gid in ids if gid.startswith("decision-")}
            assert len(lettered) == len(rows) - arrange(rows).left_out
        width, height = figure.get_size_inches()
        assert max(width, height) < 32


@pytest.mark.long
@pytest.mark.parametrize("name", SPACES)
def test_every_space_draws_before_anything_is_decided(name: str) -> None:
    space, figures = drawn(name, "open")
    for figure in figures.values():
        gids = [str(patch.get_gid()) for patch in figure.axes[0].patches]
        if isinstance(space, CellSpace):
            assert [gid for gid in gids if gid.startswith("edge-")] == [f"edge-{edge.row}" for edge in space.edges]
        assert {"output", "input"} & {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["nested", "repeat", "hostile"])
def test_nothing_overlaps_in_a_tree(name: str, mode: str) -> None:
    in_bounds_and_apart(name, mode)


@pytest.mark.long
@pytest.mark.parametrize("name", [*LONG, "mobilenetv3_like"])
def test_nothing_overlaps_in_a_long_tree(name: str) -> None:
    in_bounds_and_apart(name, "strengths")


def in_bounds_and_apart(name: str, mode: str) -> None:
    (figure,) = drawn(name, mode)[1].values()
    found = boxes(figure)
    assert len(found) > 4
    assert overlapping(found) == []
    for box in found:
        assert min(box.x0, box.y0) >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_nothing_overlaps_in_a_relaxed_cell(name: str, mode: str) -> None:
    for figure in drawn(name, mode)[1].values():
        assert overlapping(boxes(figure)) == []


@pytest.mark.parametrize("name", ["nasbench201", "nested"])
def test_the_same_drawing_has_the_same_bytes(name: str, tmp_path: Path) -> None:
    for mode in MODES[:2]:
        for kind in ("svg", "png"):
            first, second = (picture(next(iter(drawn(name, mode)[1].values())), kind) for _ in range(2))
            assert first == second
    save(next(iter(drawn(name, "open")[1].values())), tmp_path / "x.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


def test_a_relaxed_cell_names_the_strongest_operation_and_shows_all() -> None:
    space = get_space("nasbench201")
    p = softmax(space)
    figure = draw_space(space, strengths=p)["cell"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    arrows = {patch.get_gid(): patch for patch in figure.axes[0].patches if patch.get_gid()}
    for edge, row in zip(space.edges, p["cell"], strict=True):
        assert f"{space.operations[row.index(max(row))]} {max(row):.2f}" in texts
        strip = [arrows[f"edge-{edge.row}-{o}"].get_width() for o in range(len(row))]
        assert [width / sum(strip) for width in strip] == pytest.approx(row)
    by_strength = sorted(space.edges, key=lambda edge: max(p["cell"][edge.row]))
    widths = [arrows[f"edge-{edge.row}"].get_linewidth() for edge in by_strength]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    assert set(space.operations) <= set(texts)


def test_a_tree_has_its_decisions_in_order_with_what_opens_them() -> None:
    rows = tree_rows(space_of("nested"))
    assert [(row.name, row.depth, row.opened_by) for row in rows] == [
        ("stem", 0, ()), ("block", 0, ()), ("kernel", 1, ("mb",)), ("ratio", 1, ("mb",)),
        ("heads", 1, ("attention",)), ("by", 2, ("wide",)), ("taps", 0, ()),
    ]  # fmt: skip
    assert [row.above for row in rows] == [-1, -1, 1, 1, 1, 4, -1]
    rows = tree_rows(space_of("repeat"))
    assert [row.group for row in rows][:3] == ["depth", "depth/0/op", "depth/1/0/op/k3/width"]
    assert [row.opened_by for row in rows if row.name.endswith("op")] == [
        ("1", "2", "3", "4"), ("2", "3", "4"), ("3", "4"), ("4",)]  # fmt: skip


def test_what_is_taken_closed_and_likely() -> None:
    space = space_of("nested")
    genotype = space.genotype(
        {"stem": "conv7", "block": "mb", "block/mb/kernel": "5", "block/mb/ratio": "4", "taps": ("0", "3")}
    )
    rows = {row.name: row for row in tree_rows(space, genotype)}
    assert {name: sorted(row.taken or ()) for name, row in rows.items()} == {
        "stem": [1], "block": [1], "kernel": [1], "ratio": [0], "heads": [], "by": [], "taps": [0, 3]}  # fmt: skip
    assert {name for name, row in rows.items() if not row.open} == {"heads", "by"}
    p = softmax(space)
    rows = {row.name: row for row in tree_rows(space, strengths=p)}
    likely = p["block"][0][2]
    assert rows["heads"].open == pytest.approx(likely) and rows["stem"].open == 1.0
    assert rows["by"].open == pytest.approx(likely * p["block/attention/heads"][0][2])
    faces = colours(draw_space(space, genotype)["macro"])
    assert faces["option-0-1"][:3] != faces["option-0-0"][:3] and faces["option-4-0"][3] < faces["option-2-0"][3]


def colours(figure: Figure) -> dict[str, tuple[float, float, float, float]]:
    return {str(p.get_gid()): p.get_facecolor() for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)}


def test_darker_is_likelier() -> None:
    space = space_of("one")
    found = colours(draw_space(space, strengths={"op": [[0.9, 0.1]]})["macro"])
    assert sum(found["option-0-0"][:3]) < sum(found["option-0-1"][:3])


def test_a_decision_without_alphas_shows_its_default() -> None:
    space = space_of("quiet")
    _, row = tree_rows(space, strengths={"op": [[0.5, 0.5]]})
    assert (row.taken, row.p, row.default) == (frozenset([1]), None, True)
    texts = [t.get_text() for t in draw_space(space, strengths={"op": [[0.5, 0.5]]})["macro"].axes[0].texts]
    assert any("no alphas" in text for text in texts)


def test_what_does_not_fit_is_left_out_and_said() -> None:
    space, figures = drawn("five hundred", "open")
    texts = [text.get_text() for text in figures["macro"].axes[0].texts]
    assert any(text.startswith("500 decisions") for text in texts)
    left_out = arrange(tree_rows(space)).left_out
    assert f"{left_out} more decisions of 500 not drawn" in texts
    assert arrange(tree_rows(space_of("sixty"))).left_out == 0
    rows = tree_rows(space_of("hostile"), strengths=softmax(space_of("hostile")))
    chips = arrange(rows).columns[0][2][1].chips
    most = max(range(5_001), key=lambda c: rows[1].p[c])  # type: ignore[index]
    assert most in [chip.column for chip in chips] and chips[-1].text == "+ 4,989 more"


def test_columns_keep_the_order() -> None:
    sheet = arrange(tree_rows(space_of("sixty")))
    assert [line.number for _, _, lines in sheet.columns for line in lines] == list(range(60))
    for (left, labels, lines), (right, _, _) in pairwise(sheet.columns):
        assert left + labels + max(chip.x + chip.width for line in lines for chip in line.chips) < right


def test_names_are_taken_literally() -> None:
    texts = [text.get_text() for text in drawn("hostile", "open")[1]["macro"].axes[0].texts]
    assert {r"\$x\$", r"\alpha", "?", "<b>"} <= set(texts)
    assert text_width("$a$") > text_width("a") and plain("a\nb") == "a?b"


def test_shades_differ() -> None:
    operations = get_space("nasnet").operations  # type: ignore[attr-defined]
    assert all(a != b for a, b in combinations(shades(operations), 2))
    assert len(set(shades([f"own_{i}" for i in range(16)]))) == 16


def test_mistakes() -> None:
    space = space_of("one")
    with pytest.raises(SupernetError, match="must have the shape"):
        draw_space(space, strengths={})
    with pytest.raises(SupernetError, match="must have the shape"):
        draw_space(get_space("darts"), strengths={"normal": [[1.0]]})
    with pytest.raises(GenotypeError, match="genotype of space 'darts'"):
        draw_space(space, published("DARTS_V2"))


def test_pictures_on_the_card_of_an_export(tmp_path: Path) -> None:
    assert card_pictures(space_of("one").sample(random.Random(0))) == {}
    cell, arguments = published("DARTS_V2"), {"channels": 2, "layers": 2, "num_classes": 3}
    pictures = card_pictures(cell)
    assert list(pictures) == ["cell-normal.png", "cell-reduce.png"]
    net = build(cell, **arguments)
    folder = export_model(net, cell, tmp_path / "model", arguments=arguments, pictures=pictures)
    assert {name: (folder / name).read_bytes() for name in pictures} == pictures
    card = (folder / "README.md").read_text()
    assert "![cell-normal](cell-normal.png)" in card and "![cell-reduce](cell-reduce.png)" in card
    export_model(net, cell, folder, arguments=arguments)  # takes the place of the one with pictures
    assert not list(folder.glob("*.png")) and "png" not in (folder / "README.md").read_text()
    with pytest.raises(SupernetError, match=r"must be called cell-KIND\.png"):
        export_model(net, cell, folder, arguments=arguments, pictures={"../x.png": b""})
