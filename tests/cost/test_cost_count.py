"""Parameters and FLOPs: published counts, and the closed sums against networks that are built."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet import Choice, Conv2d
from supernet.cost import cost_table, flops, parameters, report
from supernet.cost.cells import known_cells
from supernet.errors import GenotypeError, SupernetError
from supernet.network import build
from supernet.space import SPACES, Genotype, Space, get_space, published, published_names
from supernet.space.zoo.nasbench201 import from_string

CELLS = [name for name in SPACES if name != "darts_rnn" and not get_space(name).factory]
COUNTS = {  # CIFAR-10 with C=36, L=20; ImageNet with C=48, L=14; a sample: tests/space/test_published.py has all
    "DARTS_V2": (3_349_342, 4_718_752),
    "PC_DARTS_cifar": (3_634_678, 5_270_560),
    "DrNAS_imagenet": (4_048_750, 5_726_368),
    "NASNet": (3_830_950, 5_564_320),
    "AmoebaNet": (3_145_078, 4_627_360),
}
CIFAR: dict[str, Any] = {"channels": 36, "layers": 20}
IMAGENET: dict[str, Any] = {"channels": 48, "layers": 14, "num_classes": 1000, "stem": "imagenet"}
API_DOC = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


def built(genotype: Genotype, image: tuple[int, ...], **arguments: Any) -> dict[str, int]:
    """The counts of the whole network, by torch."""
    with torch.device("meta"), torch.no_grad():
        net = build(genotype, **arguments).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, *image))
    count, total = sum(p.numel() for p in net.parameters()), counter.get_total_flops()
    return {"parameters": count, "flops": total, "macs": total // 2}


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name: str) -> None:
    genotype = published(name)
    assert (parameters(genotype, **CIFAR), parameters(genotype, **IMAGENET)) == COUNTS[name]


def test_published_counts_of_nasbench201() -> None:
    genotype = from_string(API_DOC)
    assert parameters(genotype) == 129_306
    everywhere = from_string(API_DOC.replace("avg_pool_3x3", "skip_connect").replace("nor_conv_1x1", "skip_connect"))
    assert [parameters(everywhere, num_classes=n) for n in (10, 100, 120)] == [73_306, 79_156, 80_456]


@pytest.mark.parametrize("step", [27, pytest.param(1, marks=pytest.mark.long)])
def test_published_counts_of_nas_bench_macro(shared: Path, step: int) -> None:
    """Every 27th of the 6,561 rows, or all of them; the benchmark's column `flops` has multiply-adds."""
    path = shared / "data" / "nas_bench_macro" / "nas_bench_macro_cifar10.csv"
    if not path.is_file():
        pytest.skip("no data/nas_bench_macro in the shared folder")
    from supernet.space.zoo.nas_bench_macro import OPTIONS

    space = get_space("nas_bench_macro")
    tables = [cost_table(space, "parameters"), cost_table(space, "flops")]
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6561
    for row in rows[::step]:
        genotype = space.genotype({f"blocks/{i}": OPTIONS[int(digit)] for i, digit in enumerate(row["arch"])})
        count, twice = (table.of(genotype) for table in tables)
        assert (count, twice / 2) == (int(row["params"]), int(row["flops"])), row["arch"]
    assert report(genotype)["macs"] == int(row["flops"])


FAST = ("DARTS_V2", "AmoebaNet")
ALL = [pytest.param(name, marks=[] if name in FAST else pytest.mark.long) for name in published_names()]


@pytest.mark.parametrize("name", ALL)
def test_published_cells_equal_the_built_network(name: str) -> None:
    arguments: dict[str, Any] = {"channels": 4, "layers": 3, "num_classes": 7, "auxiliary": True}
    genotype = published(name)
    assert report(genotype, image=(3, 16, 16), **arguments) == built(genotype, (3, 16, 16), **arguments)


@pytest.mark.parametrize("name", CELLS)
def test_random_cells_equal_the_built_network(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    arguments = {"channels": 4} | ({"cells_per_stage": 1} if space.macro == "nasbench201" else {"layers": 3})
    assert known_cells(space) is space
    genotype, image = space.sample(rng), (2, 9, 13)  # odd sizes round up
    assert report(genotype, image=image, **arguments) == built(genotype, image, in_chans=2, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stem": "imagenet"},
        {"pool_bn": True, "affine": False},
        {"global_pool": "catavgmax", "stem_multiplier": 2},
        {"num_classes": 0, "global_pool": ""},
        {"concat": "relaxed"},
        {"stem": "imagenet", "auxiliary": True, "drop_rate": 0.5},
    ],
)
def test_arguments_of_the_network(arguments: dict[str, Any]) -> None:
    genotype, size = published("NASNet" if "concat" in arguments else "DARTS_V2"), {"channels": 4, "layers": 3}
    image = (3, 33, 47)
    assert report(genotype, image=image, **size, **arguments) == built(genotype, image, **size, **arguments)


class Net(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.op = Choice({"k3": nn.Conv2d(3, 4, 3, padding=1), "k1": nn.Conv2d(3, 4, 1)})
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.op(x).mean((2, 3)))


def test_a_network_of_ones_own() -> None:
    space = Space(Net)
    genotype = space.genotype({"op": "k3"})
    expected = {"parameters": 3 * 4 * 9 + 4 + 4 * 5 + 5, "macs": 3 * 4 * 9 * 64 + 4 * 5}
    found = report(genotype, space=space, image=(3, 8, 8), num_classes=5)
    assert found == expected | {"flops": 2 * expected["macs"]}
    with pytest.raises(SupernetError, match="not registered; give space=Space"):
        parameters(genotype)


def test_nothing_is_drawn() -> None:
    """Counting in the middle of a search changes no bit of it."""
    before = torch.get_rng_state()
    flops(published("DARTS_V2"), channels=4, layers=3)
    report(Space(Net).genotype({"op": "k1"}), space=Space(Net))
    cost_table(Space(Net))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: flops("DARTS_V2"), "not 'DARTS_V2'; use published"),
        (lambda g: flops(g, chanels=4), "did you mean 'channels'"),
        (lambda g: flops(g, image=(3, 0, 8)), "must be whole numbers of 1 or more"),
        (lambda g: flops(g, image=(1, 8, 8), in_chans=3), "in_chans=3 and an image of 1 channels"),
        (lambda g: flops(g, image=(3, 8)), "read images"),
        (lambda g: flops(g, image=3), "image=3 and batch=1 must be whole numbers"),
        (lambda g: flops(g, space="darts"), "not 'darts'; use get_space"),
        (
            lambda g: flops(get_space("nas_bench_macro").sample(random.Random(0)), image=(3, 8)),
            r"'nas_bench_macro' fails on an input of shape \(1, 3, 8\): ",
        ),
        (lambda g: flops(g, channels=0), "channels=0"),
        (lambda g: flops(g, space=get_space("nasnet")), "genotype of space 'darts'"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises((SupernetError, GenotypeError), match=message):
        call(published("DARTS_V2"))


def test_a_network_of_ones_own_is_counted_with_its_own_channels() -> None:
    """Without an image the network's default decides, for parameters and FLOPs alike."""

    class Grey(nn.Module):
        def __init__(self, num_classes: int = 3, in_chans: int = 1) -> None:
            super().__init__()
            self.stem = Conv2d(in_chans, Choice([2, 4]), 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.stem(x)

    space = Space(Grey)
    genotype = space.genotype({"stem/out_channels": "4"})
    assert parameters(genotype, space=space) == 4 * 9
    assert parameters(genotype, space=space, in_chans=3) == 3 * 4 * 9
    assert flops(genotype, space=space) == flops(genotype, space=space, image=(1, 32, 32)) == 2 * 4 * 9 * 32 * 32
    assert cost_table(space, "parameters").of(genotype) == 4 * 9
