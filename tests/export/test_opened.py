"""Exports of wrapped, written and own networks: opened by timm from their folder alone, and refused when tampered."""

import json
import random
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
from supernet.export import check_reopens, export_model, verify_export
from supernet.network import build_from
from supernet.space import Space
from supernet.space.choice import Choice
from supernet.space.form import allowed
from supernet.space.wrap import kernel, operation, width, without, wrap

RULES: dict[str, Any] = {
    "test_resnet": {"layer1.*.conv1": {"k5": kernel(5)}},
    "test_vit": {"blocks.*.mlp": {"thin": width(0.5), "none": without}},
    "test_efficientnet": {"blocks.*.conv_dw": {"k5": kernel(5), "sep": operation("sep_conv_3x3")}},
}


class Own(nn.Module):
    """A network of a user's own, without timm's functions."""

    def __init__(self, num_classes: int = 4, in_chans: int = 3) -> None:
        super().__init__()
        self.op = Choice({f"k{k}": nn.Conv2d(in_chans, 8, k, padding=k // 2) for k in (1, 3)})
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(x).mean(dim=(2, 3)))


def exported(space: Space, folder: Path, size: tuple[int, ...]) -> nn.Module:
    drawn = map(space.sample, map(random.Random, range(99)))
    genotype = next(
        (g for g in drawn if {"k5", "thin", "k3"} & {*g.decisions.values()}), space.sample(random.Random(1))
    )
    net = build_from(space, genotype).eval()
    export_model(net, genotype, folder, space=space, data={"input_size": size})
    return net


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrapped") / "m"
    model = timm.create_model("test_resnet", num_classes=4)
    exported(wrap(model, RULES["test_resnet"], example=(3, 32, 32)), folder, (3, 32, 32))
    return folder


@pytest.mark.parametrize("name", RULES)
def test_a_wrapped_network_opens_from_its_folder(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name, num_classes=4)
    size = model.pretrained_cfg["input_size"]
    net = exported(wrap(model, RULES[name]), tmp_path / "m", size)
    check_reopens(tmp_path / "m", net)
    path, x = f"local-dir:{tmp_path / 'm'}", torch.randn(1, *size)
    assert timm.create_model(path, pretrained=True, num_classes=7).eval()(x).shape == (1, 7)
    assert timm.create_model(path, pretrained=True, in_chans=1).eval()(x[:, :1]).shape == (1, 4)
    assert len(timm.create_model(path, pretrained=True, features_only=True).eval()(x)) > 1
    card = (tmp_path / "m" / "README.md").read_text()
    assert "import supernet.timm_models" in card and "wrap(" not in card


def test_a_fresh_process_without_the_users_code(wrapped: Path) -> None:
    model = timm.create_model(f"local-dir:{wrapped}", pretrained=True)
    assert verify_export(wrapped, model, torch.randn(2, 3, 32, 32)) <= 1e-5


def test_a_class_is_imported_only_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = exported(Space(Own), tmp_path / "m", (3, 8, 8))
    monkeypatch.setattr(allowed, "_allowed", [])
    with pytest.raises(SupernetError, match="would be imported, which runs its code") as caught:
        timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert "\n" not in str(caught.value)
    allowed.allow_networks(__name__)
    check_reopens(tmp_path / "m", net)
    other = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, num_classes=6, in_chans=1).eval()
    assert other(torch.randn(2, 1, 8, 8)).shape == (2, 6)
    monkeypatch.setattr(allowed, "_allowed", [])
    monkeypatch.setenv(allowed.VARIABLE, __name__)
    check_reopens(tmp_path / "m", net)


def test_rules_that_are_code_are_refused_with_the_way_out(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=4)
    rules: dict[Any, Any] = {"layer1.*.conv1": {"own": lambda conv: nn.Sequential(conv, nn.ReLU())}}
    with pytest.raises(SupernetError, match=r"Python code, which no file can hold: take a ready") as caught:
        exported(wrap(model, rules, example=(3, 32, 32)), tmp_path / "m", (3, 32, 32))
    assert "\n" not in str(caught.value) and not (tmp_path / "m").exists()


def test_the_file_of_a_wrapped_space_reads_back() -> None:
    model = timm.create_model("test_resnet", num_classes=4)
    space = wrap(model, {"layer1.*.conv1": {"k5": kernel(5), "skip": operation("skip_connect")}}, example=(3, 32, 32))
    again = Space.from_yaml(space.to_yaml())
    assert repr(again.root) == repr(space.root) and again.to_yaml() == space.to_yaml()
    assert "skip_connect" in space.to_yaml()


def edited(**changes: str) -> Callable[[dict[str, Any]], None]:
    def edit(config: dict[str, Any]) -> None:
        for old, new in changes.items():
            text = config["model_args"]["space"]
            assert old in text
            config["model_args"]["space"] = text.replace(old, new)

    return edit


def argument(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["model_args"].update(changes)


BAD: dict[str, Callable[[dict[str, Any]], None]] = {
    "no space": lambda config: config["model_args"].pop("space"),
    "space is a number": argument(space=3),
    "space is a path": argument(space="/etc/passwd"),
    "space is empty": argument(space=""),
    "space is huge": argument(space="x" * 10_000_000),
    "a class": edited(**{"model: test_resnet": "class: os.system"}),
    "another model": edited(**{"model: test_resnet": "model: test_resnet2"}),
    "a model of a hub": edited(**{"model: test_resnet": 'model: "hf-hub:timm/resnet18"'}),
    "a model of a folder": edited(**{"model: test_resnet": 'model: "local-dir:/tmp"'}),
    "a larger model": edited(**{"model: test_resnet": "model: resnet18"}),
    "a checkpoint": edited(**{"num_classes: 4": "checkpoint_path: /etc/passwd"}),
    "a configuration": edited(**{"num_classes: 4": "pretrained_cfg: x"}),
    "an enormous argument": edited(**{"in_chans: 3": "base_width: 1000000000"}),
    "an unknown argument": edited(**{"in_chans: 3": "wdith: 3"}),
    "another rule": edited(**{"layer1.*.conv1": "layer9.*.conv1"}),
    "another kernel": edited(**{"kernel: 5": "kernel: 7"}),
    "an unknown alternative": edited(**{"kernel: 5": "system: 5"}),
    "a tag": edited(**{"kernel: 5": "kernel: !!python/name:os.system"}),
    "a hidden attribute": edited(**{"reads: {}": "reads: {layer1.0.conv1: [__class__]}"}),
    "another name": edited(**{"name: test_resnet": "name: darts"}),
    "another genotype": lambda config: config["model_args"]["genotype"]["decisions"].popitem(),
    "an argument of nothing": argument(kwargs_filter=["x"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_manipulated_folder_is_refused_in_one_line(name: str, wrapped: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wrapped, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    BAD[name](config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SupernetError) as caught:
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
