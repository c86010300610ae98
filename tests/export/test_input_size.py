"""An exported network of tokens opens in timm at another image size; networks of every size have no such argument."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

import supernet.timm_models  # noqa: F401  # registers the names
from supernet.errors import SupernetError
from supernet.export import export_model
from supernet.network import build
from supernet.space import Genotype
from tests.support.zoo_small import SMALL, small_space

POINT = small_space("autoformer_tiny").sample(random.Random(0))
ARGUMENTS: dict[str, Any] = SMALL["autoformer_tiny"][1] | {"num_classes": 5}  # 16 pixels, patches of 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(
        build(POINT, seed=1, **ARGUMENTS), POINT, tmp_path_factory.mktemp("x") / "m", arguments=ARGUMENTS
    )


def opened(folder: Path, **kwargs: Any) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs).eval()


def by_hand(folder: Path, size: int) -> Any:
    """The network for `size` pixels; its positions are interpolated on the grid of the patches, the first one stays."""
    state: dict[str, Tensor] = load_file(folder / "model.safetensors")
    position = state["stem.1.position"]
    grid = position[0, 1:].T.unflatten(1, (4, 4))[None]
    grid = functional.interpolate(grid, size=(size // 4, size // 4), mode="bicubic", antialias=True)
    state["stem.1.position"] = torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], 1)
    net = build(POINT, **(ARGUMENTS | {"image_size": size}))
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize("size", [24, 12, (32, 32)])
def test_another_size_has_resampled_positions(folder: Path, size: Any) -> None:
    model, side = opened(folder, img_size=size), size[0] if isinstance(size, tuple) else size
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), by_hand(folder, side)(x))
    assert model(x).std() > 0 and model(x).isfinite().all()
    told = timm.data.resolve_data_config(model=model)["input_size"]
    assert tuple(told)[1:] in ((side, side), (16, 16)), "older versions of timm tell the size of the weights"
    (tokens,) = opened(folder, img_size=size, features_only=True)(x)
    assert tokens.shape == (2, model.num_features, side // 4, side // 4)


def test_the_size_of_the_weights_is_the_default(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["fixed_input_size"] and config["pretrained_cfg"]["input_size"] == [3, 16, 16]
    model = opened(folder)
    assert torch.equal(model.stem[1].position, load_file(folder / "model.safetensors")["stem.1.position"])


def test_what_timm_saves_at_another_size_opens_again(folder: Path, tmp_path: Path) -> None:
    """Its record holds img_size beside the image_size of before."""
    model = opened(folder, img_size=24)
    arguments = json.loads((folder / "config.json").read_text())["model_args"] | {"img_size": [24, 24]}
    timm.models.save_for_hf(model, str(tmp_path), model_args=arguments, safe_serialization=True)
    x = torch.randn(2, 3, 24, 24)
    assert torch.equal(opened(tmp_path)(x), model(x))
    assert opened(tmp_path, img_size=16).stem[1].position.shape[1] == 17


def test_sizes_that_fit_no_network_are_one_line(folder: Path) -> None:
    for size, line in (((16, 24), "read square images"), (18, "must divide"), ("16", "read square images")):
        with pytest.raises(SupernetError, match=line):
            opened(folder, img_size=size)
    with pytest.raises(SupernetError, match="8x8 patches in a network for 16: set image_size"):
        opened(folder)(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("genotype", ["DARTS_V2", small_space("nas_bench_macro").sample(random.Random(0))])
def test_convolutional_networks_have_no_such_argument(genotype: str | Genotype) -> None:
    with pytest.raises(TypeError, match="img_size"):
        timm.create_model("resnet18", img_size=64)
    with pytest.raises(SupernetError, match=r"img_size=64: networks of space .* read images of every size and have no"):
        timm.create_model("sn_cellnet", genotype=genotype, img_size=64)
