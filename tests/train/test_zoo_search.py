"""Every space of the zoo from the command line: a search of two epochs."""

import json
from pathlib import Path

import pytest

from supernet.cli import main
from supernet.space import SPACES, Genotype, space_of

pytestmark = pytest.mark.usefixtures("own_folder")
# Space -> overrides where its own sizes are too large for a test; digits unless they name other data.
SMALL = {
    "darts": ["network.channels=4", "network.layers=3", "space.args.nodes=2"],
    "nasbench201": ["network.channels=4", "network.cells_per_stage=1"],
    "nasnet": ["network.channels=2", "network.layers=3"],
    "s1": ["network.channels=4", "network.layers=3"],
    "s2": ["network.channels=4", "network.layers=3"],
    "s3": ["network.channels=4", "network.layers=3"],
    "s4": ["network.channels=4", "network.layers=3"],
    "nas_bench_macro": ["network.channels=4", "network.features=16"],
    "mobilenetv3_like": ["space.args.widths=[8,16]", "space.args.depths=[1,2]", "network.features=16"],
    "autoformer_tiny": [
        "space.args.dims=[16,24]", "space.args.depths=[1,2]", "space.args.heads=[1,2]", "network.head_dim=8",
    ],
    "timm_resnet_width": ["space.args.backbone=test_resnet", "space.args.sizes=[8,12]"],
    "grammar": [],
    "darts_rnn": ["data=text", "network.hidden=16", "data.kwargs.length=12", "space.args.nodes=3"],
}  # fmt: skip


def run(*argv: str, root: Path) -> Path:
    """The run folder of a stage that must succeed."""
    before = set(root.iterdir()) if root.is_dir() else set()
    tiny = ["epochs=2", "batch_size=16", "data.limit=32", "log.tensorboard=false"]  # drawings: test_cell_searches.py
    assert main([*argv, f"run.root={root}", *tiny]) == 0
    (folder,) = {path for path in root.iterdir() if (path / "result.json").is_file()} - before
    return folder


# s2 and s3 differ from s1 by what their edges offer alone; nasnet takes as long as four others.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in ("s2", "s3", "nasnet") else ()) for name in SPACES]
)
def test_a_search_of_two_epochs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("search", f"space={name}", *SMALL.get(name, []), root=tmp_path)
    genotype = Genotype.load(folder / "genotype.json")
    assert genotype.space == name and genotype.origin["epochs"] == 2
    space_of(genotype).validate(genotype)
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    entropies = [line["alpha/mean_entropy"] for line in epochs if "alpha/mean_entropy" in line]
    assert len(entropies) == 2 and min(entropies) > 0
    assert "supernet retrain" in capsys.readouterr().out
