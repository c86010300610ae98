"""Registered spaces: sizes, round trips, hashes and the projection from strengths, against the literature's numbers."""

import random
from collections.abc import Sequence
from math import nan

import pytest

from supernet.errors import GenotypeError, SupernetError
from supernet.space import SPACES, CellGraph, CellSpace, EdgeCells, Genotype, Space, Term, TopKCells, get_space
from supernet.space.canonical import canonical_cell, published_text
from supernet.space.zoo.nasbench201 import from_string, to_string

DARTS_OPS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
             "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip


@pytest.fixture(scope="module")
def benchmark() -> list[Genotype]:
    """All points of NAS-Bench-201."""
    return list(get_space("nasbench201").points())


def test_sizes_of_the_literature() -> None:
    assert get_space("darts").size == (180 * 7**8) ** 2
    assert get_space("nasbench201").size == 5**6 == 15_625
    assert get_space("nasnet").size == (9**10 * (2 * 3 * 4 * 5 * 6) ** 2) ** 2
    assert get_space("darts", nodes=2).size == (3 * 7**4) ** 2
    assert (
        get_space("darts", operations=list(DARTS_OPS[1:])).size == (180 * 7**8) ** 2
    )  # without "none": the same cells


def test_tables_of_the_literature() -> None:
    tables = get_space("darts").tables
    rows = ("0-2", "1-2", "0-3", "1-3", "2-3", "0-4", "1-4", "2-4", "3-4", "0-5", "1-5", "2-5", "3-5", "4-5")
    assert [(t.name, t.rows, t.columns) for t in tables] == [("normal", rows, DARTS_OPS), ("reduce", rows, DARTS_OPS)]
    (table,) = get_space("nasbench201").tables
    assert table.rows == ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
    assert table.columns == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.mark.parametrize("name", SPACES)
def test_ten_thousand_round_trips(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    vectors, points = set(), set()
    for _ in range(10_000):
        genotype = space.sample(rng)
        vector = space.encode(genotype)
        assert space.decode(vector) == genotype
        assert Genotype.from_json(genotype.to_json()) == genotype
        vectors.add(tuple(vector))
        points.add(genotype)
    assert len(vectors) == len(points) > min(9_900, 0.4 * space.size)
    assert len({len(v) for v in vectors}) == 1


@pytest.mark.parametrize("name", SPACES)
def test_neighbours_and_distance(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    for _ in range(3):
        point, other, third = (space.sample(rng) for _ in range(3))
        near = list(space.neighbours(point))
        assert len(set(near)) == len(near) and point not in near
        for neighbour in rng.sample(near, 5):
            assert space.hash(neighbour) != space.hash(point) and space.distance(point, neighbour) >= 1
            assert point in set(space.neighbours(neighbour))
        assert space.distance(point, other) <= space.distance(point, third) + space.distance(third, other)
    if name == "nasbench201":
        assert len(near) == 6 * 4
    if name == "darts":  # node i: i * 2 swaps of an input with 7 operations, or another of 7 operations on either edge
        swaps = sum(2 * (i - 2) * 7 for i in (2, 3, 4, 5))
        assert len(near) == 2 * (swaps + 4 * 2 * 6)


def test_strings_of_nas_bench_201(benchmark: list[Genotype]) -> None:
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    decisions = from_string(best).decisions
    assert decisions["cell/0-1"] == "nor_conv_3x3" and decisions["cell/0-3"] == "skip_connect"
    assert decisions["cell/2-3"] == "nor_conv_1x1"
    sample = random.Random(0).sample(benchmark, 1500)
    assert [from_string(to_string(g)) for g in sample] == sample
    assert to_string(from_string(best)) == best


@pytest.mark.long
def test_strings_of_all_nas_bench_201(benchmark: list[Genotype]) -> None:
    texts = [to_string(g) for g in benchmark]
    assert len(set(texts)) == 15_625 and [from_string(t) for t in texts] == benchmark


@pytest.mark.parametrize(
    "text",
    ["", "|none~0|", "none~0+none~0|none~1+none~0|none~1|none~2", "|none~0|+|none~0|none~1|+|none~0|none~1|none~3|",
     "|nope~0|+|none~0|none~1|+|none~0|none~1|none~2|", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|",
     "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "|__import__~0|" * 200, "+" * 900, "\n", "|none~0|" * 10**5],
)  # fmt: skip
def test_no_string_of_nas_bench_201(text: str) -> None:
    with pytest.raises(GenotypeError) as error:
        from_string(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_different_networks_of_nas_bench_201(benchmark: list[Genotype]) -> None:
    """6,674 by dropping exact zeros, 6,466 by the published rule; one is no refinement of the other by accident."""
    space = get_space("nasbench201")
    assert isinstance(space, CellSpace)
    hashes = {g.hash: space.canonical_hash(g) for g in benchmark}
    assert len(hashes) == 15_625
    assert len(set(hashes.values())) == 6_674
    assert len({published_text(space.graphs(g)["cell"]) for g in benchmark}) == 6_466
    assert len({space.hash(g) for g in benchmark}) == 15_625


def test_cells_that_are_equal_as_functions() -> None:
    """By hand: zero terms drop out, a skip is the state itself, and terms commute."""

    def canonical(text: str) -> str:
        return get_space("nasbench201").canonical_hash(from_string(text))

    conv = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
    assert canonical(conv) == canonical("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    assert canonical(conv) == canonical("|none~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    assert canonical(conv) == canonical("|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")
    # A convolution of zeros is the bias of its norm, no zero.
    assert canonical(conv) != canonical("|none~0|+|none~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|skip_connect~2|")
    assert canonical(conv) != canonical(conv.replace("nor_conv_3x3", "nor_conv_1x1"))


def relabelled(graph: CellGraph, order: Sequence[int]) -> CellGraph | None:
    """The same cell with its nodes in another `order`; None where a node would stand before what it reads."""
    new = {i: i for i in range(graph.inputs)} | {graph.inputs + old: graph.inputs + at for at, old in enumerate(order)}
    nodes = tuple(tuple(Term(t.op, new[t.source]) for t in reversed(graph.nodes[old])) for old in order)
    valid = all(t.source < graph.inputs + i for i, terms in enumerate(nodes) for t in terms)
    return CellGraph(graph.inputs, nodes, tuple(sorted(new[i] for i in graph.concat))) if valid else None


def point_of(space: Space, cells: dict[str, CellGraph]) -> Genotype:
    decisions = {}
    for kind, graph in cells.items():
        for i, terms in enumerate(graph.nodes, start=graph.inputs):
            path = f"{kind}/node{i}/inputs"
            decisions[path] = tuple(str(j) for j in sorted(t.source for t in terms))
            decisions |= {f"{path}/{t.source}/op": t.op for t in terms}
    return space.genotype(decisions)


def test_relabelled_darts_cells_are_the_same_network() -> None:
    space, rng, found = get_space("darts"), random.Random(0), 0
    assert isinstance(space, TopKCells)
    for _ in range(60):
        genotype = space.sample(rng)
        graphs = space.graphs(genotype)
        for kind in ("normal", "reduce"):
            order = rng.sample(range(4), 4)
            other = relabelled(graphs[kind], order)
            if other is None or order == [0, 1, 2, 3]:
                continue
            twin = point_of(space, graphs | {kind: other})
            found += twin != genotype
            assert space.canonical_hash(twin) == space.canonical_hash(genotype)
            assert twin == genotype or space.hash(twin) != space.hash(genotype)
            plain = canonical_cell(graphs[kind]), canonical_cell(graphs[kind], strided=True)
            assert plain == (canonical_cell(other), canonical_cell(other, strided=True))
    assert found >= 20


def test_another_operation_is_another_network() -> None:
    """Changing one operation changes how often it occurs in the canonical text, whatever the graph."""
    space, rng = get_space("darts"), random.Random(1)
    for _ in range(40):
        genotype = space.sample(rng)
        path = rng.choice([p for p, v in genotype.decisions.items() if p.endswith("/op") and v != "skip_connect"])
        op = rng.choice([o for o in DARTS_OPS[1:] if o not in ("skip_connect", genotype.decisions[path])])
        changed = space.genotype({**genotype.decisions, path: op})
        assert space.canonical_hash(changed) != space.canonical_hash(genotype)


def test_a_skip_with_stride_two_is_no_identity() -> None:
    """skip(x) + y with y = skip(0): merges with the input in a normal cell only."""
    a = CellGraph(1, ((Term("skip_connect", 0),), (Term("sep_conv_3x3", 1),)), (2,))
    b = CellGraph(1, ((Term("skip_connect", 0),), (Term("sep_conv_3x3", 0),)), (2,))
    assert canonical_cell(a) == canonical_cell(b)
    assert canonical_cell(a, strided=True) != canonical_cell(b, strided=True)


def test_projection_keeps_the_two_strongest_edges_without_none() -> None:
    """Against a slow loop over all pairs of edges, and with ties to the lower index."""
    space, rng = get_space("darts"), random.Random(0)
    for trial in range(20):
        levels = 10**6 if trial % 2 else 4  # few levels: many ties
        strengths = {
            t.name: [[rng.randrange(levels) / levels for _ in t.columns] for _ in t.rows] for t in space.tables
        }
        decisions = space.project(strengths).decisions
        for kind, rows in strengths.items():
            names = space.tables[0].rows
            for node in range(2, 6):
                best = {j: max(rows[names.index(f"{j}-{node}")][1:]) for j in range(node)}
                pairs = [(a, b) for a in range(node) for b in range(a + 1, node)]
                top = max(best[a] + best[b] for a, b in pairs)
                kept = tuple(int(j) for j in decisions[f"{kind}/node{node}/inputs"])
                assert kept == next(p for p in sorted(pairs) if best[p[0]] + best[p[1]] == top)
                for j in kept:
                    row = rows[names.index(f"{j}-{node}")]
                    op = decisions[f"{kind}/node{node}/inputs/{j}/op"]
                    assert DARTS_OPS.index(op) == row.index(best[j], 1)


def test_projection_of_every_edge_allows_none() -> None:
    space = get_space("nasbench201")
    assert isinstance(space, EdgeCells)
    rows = [[0.0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 2, 1]]
    expected = "|none~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert to_string(space.project({"cell": rows})) == expected


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_projection_undoes_the_relaxed_view(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    for _ in range(30):
        genotype = space.sample(rng)
        strengths = {t.name: [[0.0] * len(t.columns) for _ in t.rows] for t in space.tables}
        for table, places in space.active(genotype).items():
            for row, column in places:
                strengths[table][row][column] = 1.0
        assert space.project(strengths) == genotype


def test_strengths_that_are_no_numbers_are_refused() -> None:
    space = get_space("nasbench201")
    with pytest.raises(SupernetError, match="NaN: the search has diverged"):
        space.project({"cell": [[nan] * 5] * 6})
    for wrong in ({}, {"cell": [[0.0] * 4] * 6}, {"cell": [[0.0] * 5] * 5}, {"cell": [[0.0] * 5] * 5 + [[0.0] * 4]}):
        with pytest.raises(SupernetError, match="must have the shape"):
            space.project(wrong)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("dart", {}, "did you mean 'darts'"),
        ("darts", {"node": 3}, "did you mean 'nodes'"),
        ("darts", {"nodes": "3"}, "must be of type int"),
        ("darts", {"nodes": True}, "must be of type int"),
        ("darts", {"nodes": 0}, r"must lie in 1\.\.12"),
        ("darts", {"nodes": 10**9}, r"must lie in 1\.\.12"),
        ("darts", {"operations": "sep_conv_3x3"}, "must be of type list"),
        ("darts", {"operations": []}, "operations"),
        ("darts", {"operations": ["none"]}, "at least one besides 'none'"),
        ("nasbench201", {"operations": ["none", "none"]}, "different names"),
        ("nasnet", {"nodes": 3}, "unknown argument"),
    ],
)
def test_arguments_are_checked(name: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        get_space(name, **args)
