"""Genotypes of other projects: published cells written in each form are read back; nothing is evaluated."""

import json
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import GenotypeError
from supernet.space import Genotype, get_space, published
from supernet.space.foreign import read_foreign
from supernet.space.foreign.naslib import OF_DARTS
from supernet.space.lookup import find_genotype
from supernet.space.zoo.nasbench201 import to_string

CELL = published("DARTS_V2")


def nodes(kind: str) -> list[list[tuple[str, int]]]:
    graph = get_space("darts").graphs(CELL)[kind]  # type: ignore[attr-defined]
    return [[(term.op, term.source) for term in node] for node in graph.nodes]


def flat(kind: str) -> list[tuple[str, int]]:
    return [term for node in nodes(kind) for term in node]


def nni() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for kind in ("normal", "reduce"):
        for node, terms in enumerate(nodes(kind), start=2):
            for number, (operation, source) in enumerate(terms):
                values |= {f"{kind}/op_{node}_{number}": operation, f"{kind}/input_{node}_{number}": [source]}
    return values


JOINED = "normal_concat=range(2, 6), reduce_concat=[2, 3, 4, 5]"
NUMBERS = [[(source, OF_DARTS.index(op)) for op, source in flat(kind)] for kind in ("normal", "reduce")]
FORMS = {
    "flat": f"Genotype(normal={flat('normal')}, reduce={flat('reduce')}, {JOINED})",
    "named": f"DARTS_V2 = Genotype(normal={flat('normal')}, reduce={flat('reduce')})",
    "nested": f"Genotype(normal={nodes('normal')}, reduce={nodes('reduce')}, {JOINED})",
    "naslib": str(tuple(map(tuple, NUMBERS))),
    "nni": json.dumps(nni()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_published_cell_in_each_form(form: str, tmp_path: Path) -> None:
    assert read_foreign(FORMS[form]) == CELL
    assert find_genotype(FORMS[form])[0] == CELL
    (tmp_path / "cell.txt").write_text(FORMS[form] + "\n")
    assert find_genotype(tmp_path / "cell.txt")[0] == CELL


def test_strings_and_numbers_of_nas_bench_201() -> None:
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    genotype, label = find_genotype(best)
    assert to_string(genotype) == best
    assert label == genotype.hash
    assert find_genotype("(2, 2, 0, 2, 2, 3)")[0] == genotype


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(normal=__import__('os').system('x'), reduce=[])", "no plain value, and is not evaluated"),
        ("Genotype(normal=[x for x in ()], reduce=[])", "no plain value, and is not evaluated"),
        (
            "Genotype(normal=[('sep_conv_3x3', 1)], reduce=[('sep_conv_3x3', 1)])",
            "has 1 terms, and each node takes two",
        ),
        ("Genotype(\n normal=[('a', 0),\n reduce=[])", "line "),
        (FORMS["flat"].replace("range(2, 6)", "range(4, 6)"), r"normal_concat=\[4, 5\] joins other states"),
        (FORMS["flat"].replace("sep_conv_3x3", "sep_conv_9x9"), "sep_conv_9x9"),
        ("|nope~0|+|none~0|none~1|+|none~0|none~1|none~2|", "in the form nasbench201, and does not fit"),
        ("(9, 0, 0, 0, 0, 0)", "operation 9 is none of 0..4"),
        ('{"ks": [3], "e": [3], "d": [2]}', "MobileNetV3 of once-for-all"),
        ('{"normal/op_2_0": "sep_conv_3x3"}', "lacks its operation or its one input"),
        ("(" * 30_000, "at most 20000"),
        ("(" * 5_000, "cannot be read|line 1"),
    ],
)
def test_what_does_not_fit_is_one_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as error:
        read_foreign(text, "cell.txt")
    assert "\n" not in str(error.value)
    assert "cell.txt" in str(error.value)


@pytest.mark.parametrize("text", ["DARTS_V2", "runs/a (1)", "", "genotype.json", "runs/x", "x=1"])
def test_names_and_paths_are_no_forms(text: str) -> None:
    assert read_foreign(text) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    path.write_text('{"space": "darts"')
    with pytest.raises(GenotypeError, match=r"genotype\.json") as error:
        find_genotype(path)
    assert "line 1" in str(error.value)
    CELL.save(path)
    assert find_genotype(path)[0] == Genotype.load(path)
