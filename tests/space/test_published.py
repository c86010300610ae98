"""Published cells and networks: every name loads, and parameter counts agree to the last digit."""
# The counts are those of the authors' repositories and logs, or a closed form that agrees with every one of them.

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from supernet.errors import GenotypeError
from supernet.network import Supernet, build
from supernet.space import Genotype, get_space, published, published_names, space_of
from supernet.space.zoo.nasbench201 import from_string
from tests.support.covering import sampled

# name: (CIFAR-10 with C=36, L=20; ImageNet with C=48, L=14), without the auxiliary head
COUNTS = {
    "DARTS_V1": (3_169_414, 4_510_432),
    "DARTS_V2": (3_349_342, 4_718_752),
    "PC_DARTS_cifar": (3_634_678, 5_270_560),
    "PC_DARTS_image": (3_721_510, 5_342_464),
    "PDARTS": (3_433_798, 4_944_352),
    "DrNAS_cifar10": (4_099_294, 5_738_464),
    "DrNAS_imagenet": (4_048_750, 5_726_368),
    "SDARTS_ADV": (3_344_806, 4_768_864),
    "SDARTS_RS": (3_606_166, 5_120_320),
    "shapley_nas_cifar10": (3_603_358, 5_138_848),
    "shapley_nas_imagenet": (3_814_822, 5_423_872),
    "darts_pt_s5_0": (2_851_246, 4_228_576),
    "darts_pt_s5_1": (3_053_206, 4_510_816),
    "darts_pt_s5_2": (2_658_142, 4_035_712),
    "darts_pt_s5_3": (3_328_174, 4_779_712),
    "lambdadarts_corr_0": (3_320_614, 4_792_768),
    "lambdadarts_corr_1": (3_672_910, 5_131_648),
    "lambdadarts_corr_2": (3_534_454, 5_034_688),
    "lambdadarts_corr_3": (3_604_438, 5_140_288),
    "lambdadarts_sign_0": (3_511_990, 5_038_624),
    "lambdadarts_sign_1": (3_605_518, 5_097_184),
    "lambdadarts_sign_2": (3_755_206, 5_253_664),
    "lambdadarts_sign_3": (3_405_286, 4_794_112),
    "NASNet": (3_830_950, 5_564_320),
    "AmoebaNet": (3_145_078, 4_627_360),
}
CIFAR = {"channels": 36, "layers": 20}
IMAGENET = {"channels": 48, "layers": 14, "num_classes": 1000, "stem": "imagenet"}
FOUR_STATES = sorted(COUNTS.keys() - {"NASNet", "AmoebaNet"})  # cells whose output joins four states
TOP_CLASS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
API_DOC = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


def uniform(op: str) -> str:
    return "+".join("|" + "".join(f"{op}~{j}|" for j in range(i)) for i in (1, 2, 3))


def count(genotype: Genotype, **arguments: object) -> int:
    """Learned numbers of the discrete network, built without memory."""
    with torch.device("meta"):
        return parameters(build(genotype, **arguments))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", sampled(COUNTS, 2))
def test_counts_of_published_networks(name: str) -> None:
    genotype = published(name)
    assert (count(genotype, **CIFAR), count(genotype, **IMAGENET)) == COUNTS[name]


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2", "PC_DARTS_image"])
def test_counts_of_auxiliary_heads_and_100_classes(name: str) -> None:
    genotype, (cifar, imagenet) = published(name), COUNTS[name]
    assert count(genotype, **CIFAR, auxiliary=True) - cifar == 476_426
    assert count(genotype, **IMAGENET, auxiliary=True) - imagenet == 1_260_776
    assert count(genotype, **CIFAR, num_classes=100) - cifar == 51_930


def test_count_of_the_search_network() -> None:
    with torch.device("meta"):
        net = Supernet(get_space("darts"), channels=16, layers=8, num_classes=10)
    assert sum(p.numel() for p in net.weights()) == 1_930_618
    assert [tuple(a.shape) for a in net.alphas()] == [(14, 8), (14, 8)]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (uniform("skip_connect"), (73_306, 79_156, 80_456)),
        (uniform("nor_conv_3x3"), (1_531_546, 1_537_396, 1_538_696)),
        (TOP_CLASS, (1_073_466, 1_079_316, 1_080_616)),
        (API_DOC, (129_306, 129_306 + 90 * 65, 129_306 + 110 * 65)),  # a class is 64 weights and a bias
    ],
)
def test_counts_of_nas_bench_201(text: str, counts: tuple[int, int, int]) -> None:
    genotype = from_string(text)
    got = tuple(count(genotype, channels=16, cells_per_stage=5, num_classes=n) for n in (10, 100, 120))
    assert got == counts


def test_thirty_cells_load_by_name() -> None:
    names = published_names()
    cells = [published(name) for name in names]
    assert len(names) == 30 and len({g.hash for g in cells}) == 30
    assert Counter(g.space for g in cells) == {"darts": 28, "nasnet": 2}
    for name, genotype in zip(names, cells, strict=True):
        space_of(genotype)
        assert genotype.origin["published"] == name
        assert Genotype.from_json(genotype.to_json()) == genotype


def test_an_ambiguous_name_is_refused_with_the_way_out() -> None:
    with pytest.raises(GenotypeError, match="2 different cells; say which: .*quark0/darts:DARTS") as error:
        published("DARTS")
    assert "Sunshine-Ye/Beta-DARTS:DARTS" in str(error.value)
    assert published("quark0/darts:DARTS") == published("DARTS_V2")
    with pytest.raises(GenotypeError, match="did you mean 'DARTS_V1'"):
        published("DARTS_V11")


def test_a_cell_stands_as_it_was_printed() -> None:
    """DARTS_V1, typed from the paper's figure: (operation, predecessor) of each node."""
    decisions = published("DARTS_V1").decisions
    normal = {2: {1: "sep", 0: "sep"}, 3: {0: "skip", 1: "sep"}, 4: {0: "skip", 1: "sep"}, 5: {0: "sep", 2: "skip"}}
    reduce = {2: {0: "max", 1: "max"}, 3: {2: "skip", 0: "max"}, 4: {0: "max", 2: "skip"}, 5: {2: "skip", 0: "avg"}}
    full = {"sep": "sep_conv_3x3", "skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3"}
    expected = {}
    for kind, cell in (("normal", normal), ("reduce", reduce)):
        for node, terms in cell.items():
            path = f"{kind}/node{node}/inputs"
            expected[path] = tuple(str(j) for j in sorted(terms))
            expected |= {f"{path}/{j}/op": full[op] for j, op in terms.items()}
    assert dict(decisions) == expected


def test_cells_agree_with_the_reference_file(shared: Path) -> None:
    """Every one of the 54 entries names the cell that the reference file holds."""
    path = shared / "reference" / "genotypes.json"
    if not path.is_file():
        pytest.skip("no reference/genotypes.json in the shared folder")
    entries = json.loads(path.read_text(encoding="utf-8"))
    assert len(entries) == 54
    for name, entry in entries.items():
        genotype = published(name.replace("+", "/"))
        graphs = space_of(genotype).graphs(genotype)
        for kind, pairs, concat in (("normal", *entry[:2]), ("reduce", *entry[2:])):
            terms = [(term.source, term.op) for node in graphs[kind].nodes for term in sorted(node, key=str)]
            nodes = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
            expected = [(j, op) for node in nodes for op, j in sorted(node)]
            assert terms == expected, f"{name} {kind}"
            assert list(graphs[kind].concat) == list(concat)
