"""NAS-Bench-Macro: every network has the parameters of the benchmark's table, and 3,969 of 6,561 are different."""

import csv
import random
from collections import defaultdict
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supernet.network import build_from
from supernet.space import Genotype, get_space
from supernet.space.zoo.nas_bench_macro import DEPTHS, OPTIONS, to_string

# Rows of the benchmark's table (arXiv:2103.11922): digits of the layers -> parameters.
ROWS = {
    "00000000": 387_882,
    "11111111": 1_588_874,
    "22222222": 2_932_586,
    "02012100": 890_666,
    "11111221": 2_181_386,
    "01000000": 415_082,
    "20202020": 1_537_130,
    "12012012": 2_014_602,
    "00100200": 703_466,
    "22212220": 1_985_514,
}
ALL = ["".join(digits) for digits in product("012", repeat=8)]


@cache
def space() -> Any:
    return get_space("nas_bench_macro")


def genotype(digits: str) -> Genotype:
    return space().genotype({f"blocks/{i}": OPTIONS[int(digit)] for i, digit in enumerate(digits)})


def parameters(digits: str) -> int:
    """Of the built network."""
    with torch.device("meta"):
        return sum(p.numel() for p in build_from(space(), genotype(digits)).parameters())


def closed_form(digits: str) -> int:
    """Of the stem, each layer, the last convolution and the classifier; a batch norm has two parameters a channel."""
    layers = iter(digits)
    total, c_in = 3 * 9 * 32 + 2 * 32, 32
    for stage, depth in enumerate(DEPTHS):
        c_out = 64 * 2**stage
        for _ in range(depth):
            total += layer(next(layers), c_in, c_out)
            c_in = c_out
    return total + (256 + 2) * 1280 + (1280 + 1) * 10


def layer(digit: str, c_in: int, c_out: int) -> int:
    if digit == "0":
        return 0 if c_in == c_out else c_in * c_out + 2 * c_out
    expansion, kernel = (3, 3) if digit == "1" else (6, 5)
    wide = expansion * c_in
    return (c_in + 2) * wide + (kernel**2 + 2) * wide + (wide + 2) * c_out


@pytest.fixture(scope="session")
def table(shared: Path) -> dict[str, dict[str, str]]:
    """The benchmark's table: digits -> row."""
    file = shared / "data" / "nas_bench_macro" / "nas_bench_macro_cifar10.csv"
    if not file.is_file():
        pytest.skip(f"no {file.name} beside this checkout")
    with file.open(encoding="utf-8") as lines:
        return {row["arch"]: row for row in csv.DictReader(lines)}


@pytest.mark.parametrize("digits", ROWS)
def test_rows_of_the_table(digits: str) -> None:
    assert parameters(digits) == closed_form(digits) == ROWS[digits]


def test_all_rows_of_the_table(table: dict[str, dict[str, str]]) -> None:
    assert {digits: closed_form(digits) for digits in ALL} == {d: int(row["params"]) for d, row in table.items()}


def test_built_networks_have_the_sum_of_their_layers() -> None:
    for digits in random.Random(0).sample(ALL, 10):
        assert parameters(digits) == closed_form(digits)


@pytest.mark.long
@pytest.mark.parametrize("start", ["".join(three) for three in product("012", repeat=3)])
def test_every_network_builds_with_the_parameters_of_its_row(start: str, table: dict[str, dict[str, str]]) -> None:
    for digits in (d for d in ALL if d.startswith(start)):
        assert parameters(digits) == int(table[digits]["params"])


@pytest.fixture(scope="module")
def classes() -> dict[str, list[str]]:
    """Canonical hash -> the digits that have it."""
    found: dict[str, list[str]] = defaultdict(list)
    for digits in ALL:
        found[space().canonical_hash(genotype(digits))].append(digits)
    return found


def test_3969_networks_are_different(classes: dict[str, list[str]]) -> None:
    assert len(classes) == 3969
    assert all(len(set(map(closed_form, members))) == 1 for members in classes.values())


def test_equal_networks_have_equal_rows(classes: dict[str, list[str]], table: dict[str, dict[str, str]]) -> None:
    for members in classes.values():
        assert len({tuple(v for k, v in table[digits].items() if k != "arch") for digits in members}) == 1


def test_equal_networks_are_equal_functions(classes: dict[str, list[str]]) -> None:
    """The same weights, in the order of the layers that have some, give the same outputs."""
    x = torch.randn(2, 3, 16, 16)
    largest = max(classes.values(), key=len)
    outputs = []
    for digits in largest:
        net = build_from(space(), genotype(digits), channels=4, features=8).eval()
        generator = torch.Generator().manual_seed(0)
        for weight in net.parameters():
            nn.init.normal_(weight, generator=generator)
        outputs.append(net(x))
    assert len(largest) == 4 and outputs[0].std() > 0
    assert all(torch.equal(y, outputs[0]) for y in outputs)


def test_digits_and_back() -> None:
    assert all(to_string(genotype(digits).decisions) == digits for digits in random.Random(1).sample(ALL, 50))
