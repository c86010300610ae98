"""The zoo's macro spaces from the command line to a model of timm."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import supernet.timm_models  # noqa: F401  # registers the names
from supernet.cli import main
from supernet.space import Genotype
from tests.support.zoo_small import SMALL

pytestmark = pytest.mark.usefixtures("own_folder")
SETTINGS = [
    "data=digits",
    "data.limit=64",
    "epochs=2",
    "batch_size=16",
    "log.tensorboard=false",
    "log.progress=false",
    "run.root=runs",
]


def overrides(group: str, values: dict[str, Any]) -> list[str]:
    """As the command line writes them; the network takes the size of its images from the data."""
    return [f"{group}.{key}={json.dumps(v)}".replace(" ", "") for key, v in values.items() if key != "image_size"]


def search(name: str) -> Genotype:
    space, network = (overrides(*pair) for pair in zip(("space.args", "network"), SMALL[name], strict=True))
    assert main(["search", f"space={name}", *space, *network, *SETTINGS, "run.name=found"]) == 0
    return Genotype.load(Path("runs/found/genotype.json"))


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_search_retrain_export(name: str) -> None:
    genotype = search(name)
    network = overrides("network", SMALL[name][1])
    line = ["retrain", f"network={name}", "genotype=runs/found", *network, *SETTINGS, "run.name=trained"]
    assert main(line) == 0
    assert main(["export", "run=runs/trained", "to=model"]) == 0
    assert Genotype.load(Path("model/genotype.json")) == genotype
    model = timm.create_model("local-dir:model", pretrained=True).eval()
    config = json.loads(Path("model/config.json").read_text())
    with torch.inference_mode():
        assert model(torch.randn(2, *config["pretrained_cfg"]["input_size"])).shape == (2, 10)
