"""Tables of scores: what is read, by which points it is found, and one line for each thing that is wrong with it."""

from itertools import product
from pathlib import Path
from statistics import fmean

import pytest

from supernet.errors import SupernetError
from supernet.evaluate.table import Table
from supernet.space import Decision, Space, get_space
from supernet.space.decision import OneOf
from supernet.space.zoo.nasbench201 import to_string

BINDING = """
space: tiny
architecture: {column: arch, spelling: digits}
metrics:
  acc: {columns: [acc1, acc2], direction: max}
  params: {columns: params, direction: min}
parameters: params
complete: true
"""
ROWS = {f"{a}{b}": (a + 2 * b, a - b, 10 * a + b) for a, b in product(range(2), range(3))}


def decisions() -> list[Decision]:
    return [OneOf("a", {"x": (), "y": ()}), OneOf("b", {"p": (), "q": (), "r": ()})]


@pytest.fixture
def space() -> Space:
    return Space(decisions(), name="tiny")


def write(folder: Path, binding: str = BINDING, rows: object = None) -> Path:
    """The CSV with its YAML beside it."""
    lines = [f"{arch},{','.join(map(str, numbers))}" for arch, numbers in ROWS.items()] if rows is None else rows
    (folder / "scores.csv").write_text("\n".join(["arch,acc1,acc2,params", *lines]) + "\n")
    (folder / "scores.yaml").write_text(binding)
    return folder / "scores.csv"


def test_a_point_has_the_mean_of_its_columns(tmp_path: Path, space: Space) -> None:
    table = Table.read(write(tmp_path), space)
    point = space.genotype({"a": "y", "b": "r"})
    assert table[point] == {"acc": fmean((5, -1)), "params": 12}
    assert (table.score(point), table.parameters(point), table.maximise, len(table)) == (2.0, 12, True, 6)
    assert {p.hash: m for p, m in table} == {p.hash: table[p] for p in space.points()}, "rows are points, each once"


def test_it_is_found_by_its_yaml_which_may_name_the_file(tmp_path: Path, space: Space) -> None:
    write(tmp_path)
    (tmp_path / "bound").mkdir()
    (tmp_path / "bound" / "mine.yaml").write_text(BINDING + "file: ../scores.csv\nscore: params\n")
    table = Table.read(tmp_path / "bound" / "mine.yaml", space)
    assert table.binding.score == "params" and not table.maximise
    assert len(Table.read(tmp_path / "scores.yaml", space)) == 6


def test_an_equal_network_lends_its_row(tmp_path: Path) -> None:
    space = Space(decisions(), name="tiny", canonical=lambda point: str(point["b"]))
    path = write(tmp_path, BINDING.replace("complete: true", ""), [f"0{b},{b},{b},0" for b in range(3)])
    table = Table.read(path, space)
    assert table.score(space.genotype({"a": "y", "b": "r"})) == 2.0


def test_spellings(tmp_path: Path) -> None:
    space = get_space("nasbench201", operations=["nor_conv_3x3", "skip_connect"])
    points = [space.genotype(dict.fromkeys(next(space.points()).decisions, op)) for op in space.operations]
    text = "space: nasbench201\narchitecture: {{column: a, spelling: {}}}\nmetrics: {{acc: {{columns: c}}}}\n"
    written = {"nasbench201": to_string, "encoded": lambda point: f"[{' '.join(map(str, space.encode(point)))}]"}
    for spelling, spell in written.items():
        (tmp_path / "t.yaml").write_text(text.format(spelling))
        (tmp_path / "t.csv").write_text("a,c\n" + "".join(f"{spell(p)},{i}\n" for i, p in enumerate(points)))
        table = Table.read(tmp_path / "t.csv", space)
        assert [table.score(point) for point in points] == [0.0, 1.0]
        other = space.genotype({**points[0].decisions, "cell/0-1": "skip_connect"})
        assert other not in table
        with pytest.raises(SupernetError, match="has no row for genotype .* 2 of the 64 points"):
            table[other]


FULL = [f"{arch},1,2,3" for arch in ROWS]


@pytest.mark.parametrize(
    ("binding", "rows", "message"),
    [
        (BINDING, [*FULL, "01,1,2,3", "12,0,0,0"], r"rows twice: 01 \(lines 3 and 8\), 12 \(lines 7 and 9\)"),
        (BINDING, FULL[1:-1], "is said to be complete and lacks 2 of 6 points: 0 0, 1 2"),
        (BINDING, [*FULL, "03,1,2,3"], "line 8: '03' is no point of space 'tiny'"),
        (BINDING, [*FULL, "0,1,2,3"], "line 8: '0' is no point of space 'tiny'"),
        (BINDING, [*FULL, "x1,1,2,3"], "'x1' is no row of digits"),
        (BINDING, ["00,1,,3"], "line 2: acc2 is '', and no number"),
        (BINDING, ["00,1,nan,3"], "line 2: acc2 is not finite"),
        (BINDING, [], "has no rows"),
        (BINDING.replace("acc2]", "acc3]"), FULL, "unknown column 'acc3'; did you mean 'acc2'"),
        (BINDING.replace("digits", "digit"), FULL, "scores.yaml: unknown spelling .* did you mean 'digits'"),
        (BINDING.replace("space: tiny", "space: darts"), FULL, "a table of the space 'darts', not of 'tiny'"),
        (BINDING.replace("direction: max", "direction: up"), FULL, "unknown direction of a metric 'up'"),
        (BINDING + "score: ac\n", FULL, "unknown metric in score: 'ac'; did you mean 'acc'"),
        (BINDING.replace("column: arch, ", ""), FULL, "scores.yaml: architecture.column is missing"),
        (BINDING + "colour: red\n", FULL, "unknown setting 'colour'"),
        (BINDING.replace("space: tiny\n", ""), FULL, "scores.yaml: space is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path: Path, space: Space, binding: str, rows: list[str], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        Table.read(write(tmp_path, binding, rows), space)
    assert "\n" not in str(error.value)


def test_no_yaml_no_csv(tmp_path: Path, space: Space) -> None:
    path = write(tmp_path)
    path.unlink()
    with pytest.raises(SupernetError, match="cannot read the table .*scores.csv: No such file"):
        Table.read(path, space)
    with pytest.raises(SupernetError, match="other.yaml is not there; a table needs a YAML"):
        Table.read(tmp_path / "other.csv", space)


def test_nas_bench_macro(tmp_path: Path, shared: Path) -> None:
    file = shared / "data" / "nas_bench_macro" / "nas_bench_macro_cifar10.csv"
    if not file.is_file():
        pytest.skip(f"no {file.name} beside this checkout")
    (tmp_path / "macro.yaml").write_text(
        "space: nas_bench_macro\narchitecture: {column: arch, spelling: digits}\ncomplete: true\nparameters: params\n"
        f"metrics: {{acc: {{columns: [acc1, acc2, acc3]}}, params: {{columns: params}}}}\nfile: {file}\n"
    )
    space = get_space("nas_bench_macro")
    table = Table.read(tmp_path / "macro.yaml", space)
    point = space.decode([0, 2, 0, 1, 2, 1, 0, 0])
    assert len(table) == space.size == 6561
    assert table[point] == {"acc": pytest.approx((89.47 + 88.95 + 89.17) / 3), "params": 890_666}
