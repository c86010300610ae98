"""The exported folder: opened by timm to the same bits, whole or absent, honest, harmless when it is a stranger's."""

import json
import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import supernet.timm_models  # registers the names
from supernet.cost import flops
from supernet.errors import SupernetError
from supernet.export import check_reopens, export_model, verify, verify_export
from supernet.network import Supernet, build, build_from
from supernet.space import SPACES, Genotype, Space, get_space, published
from supernet.space.choice import Choice
from supernet.space.wrap import kernel, wrap
from supernet.stages import run_export
from supernet.stages.export import ExportConfig
from tests.support.covering import sampled
from tests.support.zoo_small import SMALL as MACRO
from tests.support.zoo_small import small_space

CELL = published("PDARTS").with_origin(method="by hand", seed=3)
ARGUMENTS: dict[str, Any] = {"channels": 4, "layers": 4, "num_classes": 5, "auxiliary": True, "drop_path_rate": 0.2}
DATA: dict[str, Any] = {
    "name": "shapes", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "input_size": (3, 24, 24),
    "class_names": ["disc", "square", "star | cross", "ring", "line"],
}  # fmt: skip
X = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def trained() -> nn.Module:
    """A network whose running statistics have moved, in the layout and wrapper that training leaves it in."""
    net = build(CELL, seed=1, **ARGUMENTS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for _ in range(2):
        net.train()(X)
    return net


def opened(folder: Path, **kwargs: Any) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs).eval()


def plain_copy(model: nn.Module) -> nn.Module:
    """The same weights in the layout of a network that was just built."""
    net = build(CELL, **ARGUMENTS)
    net.load_state_dict(model.state_dict())
    return net.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return trained()


@pytest.fixture(scope="module")
def folder(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model"
    return export_model(model, CELL, path, arguments=ARGUMENTS, data=DATA, metrics={"test accuracy": 0.9375})


def test_a_fresh_process_gives_the_same_bits(
    model: nn.Module, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("raise SystemExit('a file of the working folder was taken for timm')")
    monkeypatch.chdir(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = model.training
    assert verify_export(os.path.relpath(folder), model, X) == 0.0
    assert model.training == training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.long
def test_a_fresh_process_sees_a_change_and_reports_a_failure(model: nn.Module, folder: Path) -> None:
    other = plain_copy(model)
    with torch.no_grad():
        other.classifier.bias[2] += 0.5  # type: ignore[index,union-attr]
    assert verify_export(folder, other, X) == pytest.approx(0.5)
    with pytest.raises(SupernetError, match="does not open in a fresh process") as caught:
        verify_export(folder / "nowhere", model, X)
    assert "\n" not in str(caught.value)


def test_this_process_gives_the_same_bits(model: nn.Module, folder: Path) -> None:
    with torch.inference_mode():
        assert torch.equal(opened(folder)(X), plain_copy(model)(X))
        assert not torch.equal(timm.create_model(f"local-dir:{folder}").eval()(X), opened(folder)(X))
    assert torch.equal(verify._as_loaded(model)(X), plain_copy(model)(X))


def test_the_folder_has_these_files(model: nn.Module, folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "genotype.json", "model.safetensors"]
    assert os.listdir(folder.parent) == ["model"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    genotype = Genotype.load(folder / "genotype.json")
    assert genotype == CELL and genotype.origin == CELL.origin
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("auxiliary.")}
    assert weights.keys() == kept.keys() and len(kept) < len(model.state_dict())
    assert all(torch.equal(weights[name], kept[name]) for name in kept)


def test_the_configuration_is_what_timm_reads(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "sn_cellnet"
    assert (config["num_classes"], config["num_features"]) == (5, 64)
    assert config["label_names"] == DATA["class_names"]
    told = config["model_args"]  # defaults too: a later version may have others
    assert (told["channels"], told["num_classes"], told["stem"], told["pool_bn"]) == (4, 5, "cifar", False)
    assert told["in_chans"] == 3 and "auxiliary" not in told and "drop_path_rate" not in told
    assert config["pretrained_cfg"]["first_conv"] == "stem.stem.0"  # older versions of timm read it here
    cfg = opened(folder).pretrained_cfg
    assert (cfg["first_conv"], cfg["classifier"], tuple(cfg["input_size"])) == (
        "stem.stem.0",
        "classifier",
        (3, 24, 24),
    )
    data = timm.data.resolve_model_data_config(opened(folder))
    assert (tuple(data["mean"]), tuple(data["std"])) == (DATA["mean"], DATA["std"])
    assert (tuple(data["input_size"]), data["crop_pct"]) == ((3, 24, 24), 1.0)


def test_the_card_claims_what_was_measured_and_no_more(model: nn.Module, folder: Path, tmp_path: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "| test accuracy | 0.9375 |" in card
    assert "auxiliary head" in card and "star \\| cross" in card and "| method | by hand |" in card
    assert 'timm.create_model("local-dir:' in card and "import supernet.timm_models" in card
    parameters = sum(p.numel() for p in opened(folder).parameters())
    assert f"{parameters:,} parameters" in card
    macs = flops(CELL, image=(3, 24, 24), channels=4, layers=4, num_classes=5) // 2
    assert f"{macs:,} multiply-adds for an image of 3x24x24" in card
    bare = build(CELL, channels=4, layers=3)
    silent = (
        export_model(bare, CELL, tmp_path / "m", arguments={"channels": 4, "layers": 3}) / "README.md"
    ).read_text()
    assert "accuracy" not in silent and "Results" not in silent and "Left out" not in silent


def test_fine_tuning_keeps_all_but_what_must_change(model: nn.Module, folder: Path) -> None:
    weights, mine = load_file(folder / "model.safetensors"), opened(folder, num_classes=3, in_chans=1, auxiliary=True)
    state = mine.state_dict()
    changed = {name for name in weights if not torch.equal(state[name], weights[name])}
    assert changed == {"stem.stem.0.weight", "classifier.weight", "classifier.bias"}
    # timm's rule for one channel: the sum over the channels.
    torch.testing.assert_close(state["stem.stem.0.weight"], weights["stem.stem.0.weight"].sum(1, keepdim=True))
    assert [y.shape for y in mine.train()(X[:, :1])] == [(4, 3), (4, 3)]
    same = opened(folder, auxiliary=True)  # a strict load: only the auxiliary head is new
    assert torch.equal(same(X), opened(folder)(X)) and len(same.train()(X)) == 2
    features = opened(folder, features_only=True)
    assert [tuple(y.shape[1:]) for y in features(X)] == [(16, 24, 24), (32, 12, 12), (64, 6, 6)]
    assert torch.equal(
        opened(folder, num_classes=0)(X), opened(folder).forward_head(opened(folder).forward_features(X), True)
    )


@pytest.mark.parametrize("stem", ["imagenet", "cells"])
def test_other_networks(stem: str, tmp_path: Path) -> None:
    if stem == "cells":
        genotype = get_space("nasbench201").decode([3, 1, 2, 4, 0, 3])
        arguments: dict[str, Any] = {"channels": 4, "cells_per_stage": 1}
    else:
        genotype, arguments = published("DARTS_V1"), {"channels": 4, "layers": 3, "stem": stem, "pool_bn": True}
    net = build(genotype, **arguments)
    net.train()(X)
    folder = export_model(nn.DataParallel(net), genotype, tmp_path / "m", arguments=arguments)
    assert torch.equal(opened(folder)(X), net.eval()(X))
    one = opened(folder, in_chans=1)
    assert one.get_submodule(one.pretrained_cfg["first_conv"]).in_channels == 1
    assert one(X[:, :1]).shape == (4, 10)


@pytest.mark.parametrize("name", MACRO)
def test_macro_spaces(name: str, tmp_path: Path) -> None:
    """Their networks open to the same bits, and fine-tuning changes the first convolution and the classifier alone."""
    genotype, x = small_space(name).sample(random.Random(4)), X[:, :, :16, :16]
    arguments = {"num_classes": 5, "drop_path_rate": 0.1, **MACRO[name][1]}
    net: Any = build(genotype, seed=1, **arguments)
    net.train()(x)
    folder = export_model(net, genotype, tmp_path / "m", arguments=arguments)
    assert torch.equal(opened(folder)(x), net.eval()(x))
    weights, mine = load_file(folder / "model.safetensors"), opened(folder, num_classes=3, in_chans=1)
    cfg = mine.pretrained_cfg
    state = mine.state_dict()
    changed = {key.rpartition(".")[0] for key in weights if not torch.equal(state[key], weights[key])}
    assert changed == {cfg["first_conv"], cfg["classifier"]} and mine(x[:, :1]).shape == (4, 3)
    config = json.loads((folder / "config.json").read_text())["pretrained_cfg"]  # older versions of timm read it here
    assert (config["first_conv"], config["classifier"]) == (cfg["first_conv"], cfg["classifier"])


CELLS = {"channels": 4, "layers": 3}
OTHER: dict[str, dict[str, Any]] = {
    **dict.fromkeys(["darts", "nasnet", "s1", "s2", "s3", "s4"], CELLS),
    "grammar": {"channels": 4},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
}


def test_every_space_of_images_is_opened_again_here() -> None:
    assert {*MACRO, *OTHER, "darts_rnn"} == set(SPACES)


@pytest.mark.parametrize("name", sampled(OTHER, 2))
def test_the_other_spaces_keep_their_classifier(name: str, tmp_path: Path) -> None:
    """Both for a number of classes of one's own and for the default, which timm's 1,000 must not replace."""
    genotype, x = get_space(name).sample(random.Random(4)), X[:, :, :16, :16]
    for more in ({}, {"num_classes": 5, "in_chans": 1}):
        arguments = OTHER[name] | more
        net = build(genotype, seed=1, **arguments).eval()
        folder = export_model(net, genotype, tmp_path / "m", arguments=arguments)
        check_reopens(folder, net)
        images = x[:, : more.get("in_chans", 3)]
        assert torch.equal(verify._outputs(opened(folder), images), verify._outputs(net, images))  # s4 has noise
        assert json.loads((folder / "config.json").read_text())["num_classes"] == more.get("num_classes", 10)


def test_a_plain_chain_refuses_another_head_in_one_line(tmp_path: Path) -> None:
    genotype = get_space("grammar").sample(random.Random(4))
    folder = export_model(build(genotype), genotype, tmp_path / "m")
    for change in ({"num_classes": 5}, {"features_only": True}):
        with pytest.raises(SupernetError, match=f"{next(iter(change))}=.*timm's functions") as caught:
            opened(folder, **change)
        assert "\n" not in str(caught.value)
    assert opened(folder, in_chans=1)(X[:, :1]).shape == (4, 10)
    assert timm.create_model(f"local-dir:{folder}", num_classes=5)(X).shape == (4, 5)  # untrained: any number
    assert "keeps its number of classes" in (folder / "README.md").read_text()


def test_an_export_that_fails_its_check_gets_no_name(tmp_path: Path) -> None:
    def fails(written: Path) -> None:
        assert (written / "model.safetensors").is_file()
        check_reopens(written, build(CELL, seed=9, **CELLS))

    net = build(CELL, seed=1, **CELLS)
    for earlier in (False, True):
        if earlier:
            export_model(net, CELL, tmp_path / "m", arguments=CELLS, check=lambda written: check_reopens(written, net))
        with pytest.raises(SupernetError, match=r"the export differs by .*; nothing was written to .*m$"):
            export_model(net, CELL, tmp_path / "m", arguments=CELLS, check=fails)
        assert os.listdir(tmp_path) == (["m"] if earlier else [])
    check_reopens(tmp_path / "m", net)


def test_the_stage_leaves_no_folder_that_opens_to_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genotype = get_space("grammar").sample(random.Random(4))
    data = {"name": "digits", "limit": 32}
    supernet.retrain(genotype, data=data, epochs=1, batch_size=16, run=tmp_path / "run")
    monkeypatch.setattr(run_export, "verify_export", lambda *_, **__: 0.5)
    with pytest.raises(SupernetError, match=r"the export differs by 5.00e-01 .*; nothing was written to"):
        run_export.run_export(ExportConfig(run=str(tmp_path / "run")))
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", MACRO)
def test_macro_spaces_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    net, genotype = Supernet(small_space(name), seed=0, **MACRO[name][1]).discretize()
    folder = export_model(net, genotype, tmp_path / "m", arguments=MACRO[name][1])
    assert verify_export(folder, net, X[:, :, :16, :16]) == 0.0


def test_a_folder_names_no_weights_to_download(tmp_path: Path) -> None:
    """A network that began from timm's weights holds its own now."""
    genotype = small_space("timm_resnet_width").sample(random.Random(4))
    folder = export_model(build(genotype), genotype, tmp_path / "m", arguments={"pretrained": True})
    assert "pretrained" not in json.loads((folder / "config.json").read_text())["model_args"]


def test_a_discretised_network_keeps_the_shared_weights(tmp_path: Path) -> None:
    supernet = Supernet(get_space("darts"), channels=4, layers=3, seed=0)
    net, genotype = supernet.discretize()
    arguments = {"channels": 4, "layers": 3, "pool_bn": True}
    folder = export_model(net, genotype, tmp_path / "m", arguments=arguments)
    assert torch.equal(opened(folder)(X), verify._as_loaded(net)(X))


def test_half_and_double_weights_are_stored_in_single(tmp_path: Path) -> None:
    arguments = {"channels": 4, "layers": 3}
    for dtype in (torch.bfloat16, torch.float64):
        net = build(CELL, seed=2, **arguments).to(dtype)
        weights = load_file(export_model(net, CELL, tmp_path / "m", arguments=arguments) / "model.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}
        assert all(
            torch.equal(value.to(weights[name].dtype), weights[name]) for name, value in net.state_dict().items()
        )


def test_only_an_earlier_export_is_replaced(model: nn.Module, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for seed in (0, 1):
        net = build(CELL, seed=seed, channels=4, layers=3)
        export_model(net, CELL, again, arguments={"channels": 4, "layers": 3})
    assert torch.equal(
        load_file(again / "model.safetensors")["classifier.weight"], net.state_dict()["classifier.weight"]
    )
    (again / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("again", "file", "other"):
        with pytest.raises(SupernetError, match="not overwritten"):
            export_model(model, CELL, tmp_path / name, arguments=ARGUMENTS)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    export_model(model, CELL, tmp_path / "empty", arguments=ARGUMENTS)
    assert sorted(os.listdir(tmp_path)) == ["again", "empty", "file", "other"]


def test_a_failure_leaves_the_earlier_export(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_model(model, CELL, tmp_path / "m", arguments=ARGUMENTS)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("supernet.export.folder.save_file", full)
    with pytest.raises(OSError, match="no space"):
        export_model(trained(), CELL, folder, arguments=ARGUMENTS)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arguments": {}}, "do not rebuild this model"),
        ({"arguments": ARGUMENTS | {"chanels": 4}}, "did you mean 'channels'"),
        ({"data": {"means": [0.5]}}, "did you mean 'mean'"),
        ({"data": {"mean": [0.5]}}, "one number for each of 3 channels"),
        ({"data": {"input_size": (1, 28, 28)}}, "with 3 channels"),
        ({"data": {"class_names": ["a", "b"]}}, "2 names; the model has 5 classes"),
    ],
)
def test_a_mistake_is_one_line(model: nn.Module, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as caught:
        export_model(model, CELL, tmp_path / "m", **({"arguments": ARGUMENTS} | given))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


HOSTILE: list[dict[str, Any]] = [
    {"_target_": "os.system", "command": "touch owned"},
    {"genotype": {"_target_": "os.system", "_args_": ["touch owned"]}},
    {"genotype": {"schema": 1, "space": "darts", "version": 1, "decisions": {}, "args": {"nodes": 10**9}}},
    {"genotype": {"schema": 1, "space": "darts", "version": 1, "decisions": {"x": 1}, "args": {"operations": "ab"}}},
    {"genotype": {"schema": 1, "space": "__import__('os').system('touch owned')", "version": 1, "decisions": {}}},
    {
        "genotype": {
            "schema": 1,
            "space": "timm_resnet_width",
            "version": 1,
            "decisions": {},
            "args": {"backbone": "hf-hub:a/b"},
        }
    },
    {
        "genotype": {
            "schema": 1,
            "space": "mobilenetv3_like",
            "version": 1,
            "decisions": {},
            "args": {"depths": [10**9]},
        }
    },
    {"genotype": {"schema": 1, "space": "autoformer_tiny", "version": 1, "decisions": {}, "args": {"dims": [[8]]}}},
    {"genotype": 10**9},
    {"channels": 10**9},
    {"layers": 10**9},
    {"num_classes": 10**12},
    {"stem": {"_target_": "os.system"}},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: ",".join(hostile))
def test_a_strangers_folder_executes_nothing(
    folder: Path, hostile: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= hostile
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SupernetError) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert os.listdir(tmp_path) == ["config.json"]


def test_an_unknown_operation_is_named(folder: Path, tmp_path: Path) -> None:
    config = (folder / "config.json").read_text().replace('op": "sep_conv_3x3"', 'op": "sep_conv_3x4"')
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(SupernetError, match="sep_conv_3x4"):
        opened(tmp_path)


class Net(nn.Module):
    """A network of a user's own; its submodule `auxiliary` is no auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice({"k1": lambda: nn.Conv2d(3, 8, 1), "k3": lambda: nn.Conv2d(3, 8, 3, padding=1)})
        self.auxiliary = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.auxiliary.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.auxiliary(self.op(x).mean(dim=(2, 3))))


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    net, genotype = Supernet(Space(Net), seed=0).discretize()
    folder = export_model(net, genotype, tmp_path / "m", metrics={"loss": 1.5})
    card = (folder / "README.md").read_text()
    assert 'build_from(Space(Net), Genotype.load("genotype.json"))' in card and "local-dir" not in card
    assert f"from {__name__} import Net" in card and "- timm" not in card and "library_name: supernet" in card
    assert "architecture" not in json.loads((folder / "config.json").read_text())
    again = build_from(Space(Net), Genotype.load(folder / "genotype.json"))
    again.load_state_dict(load_file(folder / "model.safetensors"))
    assert torch.equal(again(X), net(X))
    with pytest.raises(SupernetError, match="author's own class 'Net'"):
        timm.create_model("sn_cellnet", genotype=folder / "genotype.json")


class Fitted(nn.Module):
    """A network of a user's own whose defaults are not those of the data."""

    def __init__(self, width: int = 4, num_classes: int = 7, in_chans: int = 3) -> None:
        super().__init__()
        self.op = Choice({f"k{k}": partial(nn.Conv2d, in_chans, width, k, padding=k // 2) for k in (1, 3)})
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(x).mean(dim=(2, 3)))


def loaded_by_its_card(folder: Path, monkeypatch: pytest.MonkeyPatch, **known: Any) -> nn.Module:
    """The model of the card's code, run in the folder."""
    code = (folder / "README.md").read_text().partition("```python")[2].partition("```")[0]
    code = code.replace("PATH/OF/THIS/FOLDER", str(folder))
    monkeypatch.chdir(folder)
    exec(code, known)  # the lines that a reader is told to run
    return known["model"].eval()


@pytest.mark.parametrize("told", [False, True], ids=["class", "space"])
def test_the_card_of_ones_own_network_knows_what_the_data_fitted(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(partial(Fitted, width=6), name="mine") if told else Space(Fitted)
    arguments = {"num_classes": 10, "in_chans": 1}
    genotype = space.sample(random.Random(0))
    net = build_from(space, genotype, **arguments).eval()
    folder = export_model(net, genotype, tmp_path / "m", arguments=arguments, space=space if told else None)
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_classes"], config["pretrained_cfg"]["input_size"][0]) == (10, 1)
    assert torch.equal(loaded_by_its_card(folder, monkeypatch)(X[:, :1]), net(X[:, :1]))


@pytest.mark.parametrize("told", [False, True])
def test_the_card_of_a_wrapped_network_loads_it(told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("test_resnet", num_classes=4)
    rules = {"layer1.*.conv1": {"k5": kernel(5)}}
    space = wrap(model, rules, example=(3, 24, 24))
    genotype = space.sample(random.Random(1))
    net = build_from(space, genotype).eval()
    folder = export_model(net, genotype, tmp_path / "m", space=space if told else None)
    assert "Space(" not in (folder / "README.md").read_text()
    assert torch.equal(loaded_by_its_card(folder, monkeypatch, model=model, rules=rules)(X), net(X))


def test_the_card_of_a_written_space_reads_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(supernet.__file__).parent / "space/zoo/forms/grammar.yaml").read_text()
    space = Space.from_yaml(text.replace("name: grammar", "name: mine"))
    genotype = space.sample(random.Random(1))
    net = build_from(space, genotype, num_classes=4).eval()
    folder = export_model(net, genotype, tmp_path / "m", arguments={"num_classes": 4}, space=space)
    (folder / "space.yaml").write_text(space.to_yaml())
    assert torch.equal(loaded_by_its_card(folder, monkeypatch)(X), net(X))
