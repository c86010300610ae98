"""Registered spaces: sizes, round trips, hashes and the projection from strengths, against the literature's numbers."""

import random
import re
from collections.abc import Sequence
from itertools import combinations, product
from math import comb, expm1, nan, prod
from pathlib import Path

import pytest

from supernet.errors import GenotypeError, SupernetError
from supernet.space import (
    SPACES,
    CellGraph,
    CellSpace,
    EdgeCells,
    Genotype,
    OneOf,
    Space,
    Term,
    TopKCells,
    get_space,
    published,
)  # fmt: skip
from supernet.space.cells.canonical import canonical_cell, published_text
from supernet.space.zoo.nasbench201 import from_string, to_string
from supernet.space.zoo.nasnet import NasnetCells

DARTS_OPS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
             "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip
CELLS = ["darts", "darts_rnn", "nasbench201", "nasnet", "s1", "s2", "s3", "s4"]
SHORT = {"max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect", "sep3": "sep_conv_3x3",
         "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}  # fmt: skip
UNEVEN = {"normal": {"0-2": ["skip_connect"], "1-3": ["noise", "none"]}, "reduce": {"2-3": ["none", "noise"]}}


def uneven(family: type[CellSpace] = TopKCells, **more: object) -> CellSpace:
    """A space of plain data in which three edges offer less than the others."""
    operations = ["none", "skip_connect", "noise"]
    given = {"kinds": ["normal", "reduce"], "reductions": ["reduce"], "inputs": 2, "nodes": 2, "macro": "darts"}
    return family("uneven", {}, **{**given, "operations": operations, "offered": UNEVEN, **more})


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


@pytest.mark.long  # it makes every registered space, and with torch
def test_every_cell_space_is_tested_here() -> None:
    assert [name for name in SPACES if isinstance(get_space(name), CellSpace)] == CELLS


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_sizes_of_the_robust_spaces(nodes: int) -> None:
    """Choose 2 of each node's predecessors, then one of two operations for each; `none` is never kept."""
    cell = prod(comb(i, 2) * 2**2 for i in range(2, 2 + nodes))
    assert [get_space(name, nodes=nodes).size for name in ("s2", "s3", "s4")] == [cell**2] * 3
    assert get_space("s1").size == prod(comb(i, 2) * 2**2 for i in (2, 3, 4, 5)) ** 2 == 2_123_366_400


def test_lists_of_s1_agree_with_the_reference_file(shared: Path) -> None:
    path = shared / "reference" / "definitions.md"
    if not path.is_file():
        pytest.skip("no reference/definitions.md in the shared folder")
    space = get_space("s1")
    assert isinstance(space, CellSpace) and space.operations == tuple(SHORT.values())
    for kind in space.kinds:
        (line,) = re.findall(rf"^- S1 {kind}: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        lists = [tuple(SHORT[op] for op in ops.strip().split(",")) for ops in line.split("/")]
        assert [space.offered(kind, edge) for edge in space.edges] == lists


def test_edges_that_offer_different_operations_by_brute_force() -> None:
    """The points of a small space, listed by loops over pairs of edges and what each offers."""
    every = ["none", "skip_connect", "noise"]
    for space, taken in ((uneven(), 2), (uneven(k=1), 1), (uneven(EdgeCells), 0)):
        cells: dict[str, set[tuple[tuple[str, str], ...]]] = {}
        for kind in ("normal", "reduce"):
            offers = {e: UNEVEN[kind].get(e, every) for e in ("0-2", "1-2", "0-3", "1-3", "2-3")}
            if taken:
                offers = {e: [op for op in ops if op != "none"] for e, ops in offers.items()}
            sets = [
                list(combinations([e for e in offers if e.endswith(end)], taken or int(end[1]))) for end in ("-2", "-3")
            ]
            chosen = [first + second for first, second in product(*sets)]
            cells[kind] = {
                tuple(zip(edges, ops, strict=True)) for edges in chosen for ops in product(*(offers[e] for e in edges))
            }
        found = {
            tuple(
                tuple((f"{t.source}-{i}", t.op) for i, terms in enumerate(graph.nodes, start=2) for t in terms)
                for graph in space.graphs(point).values()
            )
            for point in space.points()
        }
        assert found == set(product(cells["normal"], cells["reduce"])) and len(found) == space.size


def test_what_a_table_says_exists_is_what_points_take() -> None:
    for space in (uneven(), uneven(EdgeCells), get_space("s1"), get_space("darts")):
        rng, seen = random.Random(0), {table.name: set() for table in space.tables}
        for _ in range(600):
            for name, places in space.active(space.sample(rng)).items():
                seen[name] |= set(places)
        for table in space.tables:
            there = {(e, o) for e, row in enumerate(table.mask) for o, exists in enumerate(row) if exists}
            if isinstance(space, TopKCells):  # which never keep `none`
                there = {(e, o) for e, o in there if table.columns[o] != "none"}
            assert seen[table.name] == there
        assert space.name != "darts" or all(table.exists is None for table in space.tables)


def test_projection_keeps_to_what_an_edge_offers() -> None:
    """Even where a strength that does not exist is the largest."""
    rng = random.Random(0)
    for space in (uneven(), uneven(EdgeCells), get_space("s1")):
        for _ in range(50):
            strengths = {t.name: [[rng.random() for _ in t.columns] for _ in t.rows] for t in space.tables}
            for name, places in space.active(space.project(strengths)).items():
                (table,) = (t for t in space.tables if t.name == name)
                assert all(table.mask[e][o] for e, o in places)


def test_projection_of_nasnet_takes_the_strongest_pair_of_each_side() -> None:
    """Against a loop over all pairs, with ties to the first; a state may be taken twice."""
    space, rng = get_space("nasnet"), random.Random(0)
    (normal, _) = space.tables
    assert normal.shape == (40, 9) and normal.rows[:4] == ("0-2/left", "1-2/left", "0-2/right", "1-2/right")
    twice = 0
    for trial in range(20):
        levels = 10**6 if trial % 2 else 4
        strengths = {t.name: [[rng.randrange(levels) for _ in t.columns] for _ in t.rows] for t in space.tables}
        decisions = space.project(strengths).decisions
        for kind, rows in strengths.items():
            for node, side in product(range(2, 7), ("left", "right")):
                pairs = [(j, op) for j in range(node) for op in normal.columns]
                value = {
                    (j, op): rows[normal.rows.index(f"{j}-{node}/{side}")][normal.columns.index(op)] for j, op in pairs
                }
                best = next(pair for pair in pairs if value[pair] == max(value.values()))
                path = f"{kind}/node{node}/{side}"
                assert (decisions[f"{path}/input"], decisions[f"{path}/op"]) == (str(best[0]), best[1])
            twice += any(
                decisions[f"{kind}/node{i}/left/input"] == decisions[f"{kind}/node{i}/right/input"] for i in range(2, 7)
            )
    assert twice


def test_a_cell_of_nasnet_joins_what_no_node_reads() -> None:
    space = get_space("nasnet")
    assert isinstance(space, NasnetCells) and space.concat == (2, 3, 4, 5, 6)
    for name, normal, reduce in (("NASNet", (2, 3, 4, 5, 6), (4, 5, 6)), ("AmoebaNet", (4, 5, 6), (3, 4, 6))):
        graphs = space.graphs(published(name))
        assert {kind: graph.concat for kind, graph in graphs.items()} == {"normal": normal, "reduce": reduce}, name


def test_noise_does_not_depend_on_what_it_is_applied_to() -> None:
    graphs = [CellGraph(2, ((Term("noise", j), Term("sep_conv_3x3", 0)),), (2,)) for j in (0, 1)]
    assert canonical_cell(graphs[0]) == canonical_cell(graphs[1])
    other = CellGraph(2, ((Term("noise", 0), Term("sep_conv_3x3", 1)),), (2,))
    assert canonical_cell(graphs[0]) != canonical_cell(other)


def test_tables_of_the_literature() -> None:
    tables = get_space("darts").tables
    rows = ("0-2", "1-2", "0-3", "1-3", "2-3", "0-4", "1-4", "2-4", "3-4", "0-5", "1-5", "2-5", "3-5", "4-5")
    assert [(t.name, t.rows, t.columns) for t in tables] == [("normal", rows, DARTS_OPS), ("reduce", rows, DARTS_OPS)]
    (table,) = get_space("nasbench201").tables
    assert table.rows == ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
    assert table.columns == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def test_tables_know_the_node_that_each_row_enters() -> None:
    for table in get_space("darts").tables:
        assert table.targets == (2,) * 2 + (3,) * 3 + (4,) * 4 + (5,) * 5
    (table,) = get_space("nasbench201").tables
    assert table.targets == (1, 2, 2, 3, 3, 3)
    for table in get_space("nasnet").tables:  # each node has a row for either side and each earlier state
        assert table.targets == tuple(i for i in range(2, 7) for _ in range(2 * i))
    for name in CELLS:
        for table in get_space(name).tables:
            assert table.targets == tuple(int(re.split("[-/]", row)[1]) for row in table.rows)


def test_rows_that_are_no_edges_have_no_targets() -> None:
    assert [table.targets for table in Space([OneOf("op", {"a": (), "b": ()})]).tables] == [None]


KEEP_3 = """
schema: 1
name: three
cells:
  family: top_k
  macro: darts
  kinds: [normal, reduce]
  reductions: [reduce]
  inputs: 2
  nodes: 3
  keep: 3
  operations: [none, skip_connect, sep_conv_3x3]
"""


def test_a_file_that_keeps_three_edges_a_node() -> None:
    """It loads, writes itself back, and projects to the three strongest edges, or to both of the first node."""
    space = Space.from_yaml(KEEP_3)
    again = Space.from_yaml(space.to_yaml())
    assert again.to_yaml() == space.to_yaml() and again.tables == space.tables
    assert space.size == again.size == (2**2 * 2**3 * comb(4, 3) * 2**3) ** 2
    rng = random.Random(0)
    for _ in range(20):
        strengths = {t.name: [[rng.random() for _ in t.columns] for _ in t.rows] for t in space.tables}
        genotype = space.project(strengths)
        assert again.project(strengths) == genotype and again.decode(space.encode(genotype)) == genotype
        for table in space.tables:
            for node in (2, 3, 4):
                best = {  # of each predecessor the strongest operation but none
                    int(name[0]): max(zip(row[1:], table.columns[1:], strict=True))
                    for name, row, target in zip(table.rows, strengths[table.name], table.targets, strict=True)
                    if target == node
                }
                kept = sorted(sorted(best, key=lambda j: best[j])[-3:])
                path = f"{table.name}/node{node}/inputs"
                assert genotype.decisions[path] == tuple(map(str, kept)) and len(kept) == min(3, node)
                assert all(genotype.decisions[f"{path}/{j}/op"] == best[j][1] for j in kept)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, 200) for name in SPACES),
        *(pytest.param(name, 10_000, marks=pytest.mark.long) for name in SPACES),
    ],
)
def test_round_trips(name: str, count: int) -> None:
    """Vector and JSON text and back; different points have different vectors."""
    space, rng = get_space(name), random.Random(0)
    vectors, points = set(), set()
    for _ in range(count):
        genotype = space.sample(rng)
        vector = space.encode(genotype)
        assert space.decode(vector) == genotype
        assert Genotype.from_json(genotype.to_json()) == genotype
        vectors.add(tuple(vector))
        points.add(genotype)
    expected = space.size * -expm1(-count / space.size)  # different points among uniform draws
    assert len(vectors) == len(points) > 0.9 * expected
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
    sample = random.Random(0).sample(benchmark, 500)
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


@pytest.mark.parametrize("name", CELLS)
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


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"offered": {"norml": {}}}, "did you mean 'normal'"),
        ({"offered": {"normal": {"2-0": ["noise"]}}}, "edge of 'normal' in offered: '2-0'"),
        ({"offered": {"normal": {"0-2": ["skip"]}}}, "operation of edge 0-2 of 'normal': 'skip'"),
        ({"offered": {"normal": {"0-2": []}}}, "different names"),
        ({"offered": {"normal": {"0-2": "noise"}}}, "different names"),
        ({"offered": {"normal": {"0-2": ["none"]}}}, "edge 0-2 of 'normal': .* at least one besides 'none'"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["a", "a"]}, "different names"),
        ({"reductions": ["reduction"]}, "did you mean 'reduce'"),
        ({"inputs": 0}, r"inputs=0 must lie in 1\.\.12"),
        ({"nodes": "2"}, r"nodes=2 must lie in 1\.\.12"),
        ({"k": 0}, "k=0 must be a whole number, 1 or more"),
        ({"k": True}, "k=True"),
        ({"operations": "noise"}, "operations noise must be different names"),
    ],
)
def test_plain_data_is_checked(more: dict[str, object], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        uneven(**more)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 500
