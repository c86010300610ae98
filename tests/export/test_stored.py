"""An export from a stranger: what its record says is held against its files before memory is taken, and its files are
plain ones of its own; and which folders an export replaces."""

import json
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import supernet.timm_models  # noqa: F401 - registers the networks
from supernet.errors import SupernetError
from supernet.export import export_model
from supernet.network import Supernet, build
from supernet.network.bounded import MOST_WEIGHTS
from supernet.space import Genotype, Space, get_space, published
from supernet.space.choice import Choice
from supernet.space.form import read_space

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "exports" / "darts"
GENOTYPE = Genotype.load(FIXTURE / "genotype.json")
ARGUMENTS = {"channels": 4, "layers": 3, "in_chans": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FIXTURE, tmp_path / "export")


def opened(folder: Path, *, pretrained: bool = True, **kwargs: Any) -> nn.Module:
    net: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=pretrained, **kwargs)
    return net.eval()


def change(folder: Path, **arguments: Any) -> None:
    """Other arguments in the record."""
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= arguments
    (folder / "config.json").write_text(json.dumps(config))


def refused(attempt: Callable[[], object], match: str, megabytes: int = 60) -> None:
    """In one line, and before more memory than this was taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SupernetError, match=match) as caught:
        attempt()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1000


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 600},  # alone within its bound; before: 100 MB and more, then a traceback
        {"channels": 4096},
        {"layers": 4},
        {"genotype": json.loads(published("DARTS_V2").to_json())},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_record_of_another_network(pretrained: bool, arguments: dict[str, Any], folder: Path) -> None:
    change(folder, **arguments)
    match = r"config\.json describes another network than model\.safetensors"
    refused(lambda: opened(folder, pretrained=pretrained), f"{match}|over {MOST_WEIGHTS:,} weights")


def test_what_a_user_may_change_stays_possible(folder: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    assert opened(folder, num_classes=5, in_chans=3)(x).shape == (2, 5)
    assert opened(folder, pretrained=False, channels=8, layers=5)(x[:, :1]).shape == (2, 10)
    assert opened(folder, num_classes=0)(x[:, :1]).shape == (2, 32)


@pytest.mark.parametrize("channels", [4096, 2600])
def test_the_product_is_bounded_where_no_weights_say_more(channels: int, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    change(folder, channels=channels, layers=40)
    refused(lambda: opened(folder, pretrained=False), f"over {MOST_WEIGHTS:,} weights", megabytes=2500)


def test_sizes_in_a_genotype_and_in_a_space_file() -> None:
    sizes = {"dims": [4096], "heads": [4], "ratios": [4], "depths": [16]}
    space = get_space("autoformer_tiny", **sizes)
    with torch.device("meta"):
        refused(lambda: build(space.sample(random.Random(0))), f"over {MOST_WEIGHTS:,} weights")
    layer = "{conv: {in_channels: 4096, out_channels: 4096, kernel_size: 7}}"
    body = f"{{seq: {{a: {layer}, op: {{choice: {{skip: identity, act: {{activation: relu}}}}}}}}}}"
    refused(
        lambda: Supernet(read_space(f"schema: 1\nname: wide\nnetwork: {{body: {body}}}")),
        f"over {MOST_WEIGHTS:,} weights",
    )


class Own(nn.Module):
    """As large as its author made it."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(40_000, 20_000)
        self.op = Choice({"a": nn.Identity, "b": nn.ReLU})

    def forward(self, x: Tensor) -> Tensor:
        return self.large(self.op(x))


def test_a_network_of_ones_own_is_not_bounded() -> None:
    with torch.device("meta"):
        net = Supernet(Space(Own))
    assert sum(p.numel() for p in net.weights()) > MOST_WEIGHTS


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"genotype": "other.json"}, "names no genotype, or a file"),
        ({"genotype": None}, "names no genotype|not NoneType"),
        ({"pruned": True}, "unknown argument in model_args"),  # timm reads a list of layers for it
        ({"kwargs_filter": ["channels"]}, "unknown argument in model_args"),
        ({"features_only": True}, "unknown argument in model_args"),
    ],
)
def test_a_record_names_no_other_file(arguments: dict[str, Any], match: str, folder: Path, tmp_path: Path) -> None:
    change(folder, **arguments)
    os.mkfifo(tmp_path / "other.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        refused(lambda: opened(folder), match)


def test_a_published_name_is_no_file(folder: Path) -> None:
    change(folder, genotype="DARTS_V2")
    (folder / "model.safetensors").unlink()
    assert opened(folder, pretrained=False)(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_links_and_pipes(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    shutil.copy(weights, tmp_path / "elsewhere")
    weights.unlink()
    for make, match in (
        (lambda: weights.symlink_to(tmp_path / "elsewhere"), "is a link to outside"),
        (lambda: weights.symlink_to("/dev/zero"), "is no plain file"),
        (lambda: os.mkfifo(weights), "is no plain file"),
        (lambda: weights.symlink_to("nowhere"), "cannot be opened"),
        (lambda: weights.write_bytes(b"\xff" * 64), "is no whole safetensors file"),
        (lambda: weights.write_bytes((FIXTURE / weights.name).read_bytes()[:-8]), "is no whole safetensors file"),
    ):
        make()
        refused(lambda: opened(folder), match)
        weights.unlink()
    os.mkfifo(folder / "pytorch_model.bin")  # timm takes this where there is no other
    refused(lambda: opened(folder), "is no plain file")


def test_the_cache_of_hugging_face_is_links_throughout(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in FIXTURE.iterdir():
        shutil.copy(path, blobs / f"{path.name}-blob")
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}-blob")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(opened(snapshot)(x), opened(FIXTURE)(x))


def not_an_export(name: str, folder: Path) -> None:
    """Takes or changes one thing of an export."""
    deeds: dict[str, Callable[[], object]] = {
        "a genotype alone": lambda: [path.unlink() for path in folder.iterdir() if path.name != "genotype.json"],
        "no weights": (folder / "model.safetensors").unlink,
        "no card": (folder / "README.md").unlink,
        "another genotype": lambda: published("DARTS_V2").save(folder / "genotype.json"),
        "no genotype": lambda: (folder / "genotype.json").write_text("{}"),
        "a record of another tool": lambda: (folder / "config.json").write_text('{"architecture": "resnet18"}'),
        "no record": lambda: (folder / "config.json").write_text("[1]"),
        "a link": lambda: ((folder / "README.md").unlink(), (folder / "README.md").symlink_to(FIXTURE / "README.md")),
        "more": lambda: (folder / "notes.txt").write_text("mine"),
    }
    deeds[name]()


@pytest.mark.parametrize(
    "name",
    [
        "a genotype alone", "no weights", "no card", "another genotype", "no genotype", "a record of another tool",
        "no record", "a link", "more",
    ],
)  # fmt: skip
def test_only_a_whole_export_is_replaced(name: str, folder: Path) -> None:
    not_an_export(name, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    net = build(GENOTYPE, seed=1, **ARGUMENTS)
    with pytest.raises(SupernetError, match="no earlier export, and is not overwritten"):
        export_model(net, GENOTYPE, folder, arguments=ARGUMENTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_export_of_an_earlier_version_is_replaced(folder: Path) -> None:
    net = build(GENOTYPE, seed=1, **ARGUMENTS).eval()
    export_model(net, GENOTYPE, folder, arguments=ARGUMENTS)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(opened(folder)(x), net(x))
