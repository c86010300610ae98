"""Every registered name behaves as timm's own models do: creation, heads, features, groups, checkpointing, loading."""

import random
from typing import Any

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

import supernet.timm_models as timm_models
from supernet.errors import SupernetError
from supernet.export import as_genotype
from supernet.network import build
from supernet.space import get_space, published
from tests.support.zoo_small import SMALL as MACRO
from tests.support.zoo_small import small_space

NAMES = timm.list_models("sn_*")
SMALL: dict[str, Any] = {"channels": 4, "layers": 3, "num_classes": 7}
NB201 = get_space("nasbench201").sample(random.Random(1))
# Every entry, and the one entry that takes any genotype with those of other macro structures.
CASES: dict[str, dict[str, Any]] = dict.fromkeys(NAMES, SMALL) | {
    "sn_cellnet/nasbench201": {"genotype": NB201, "channels": 4, "cells_per_stage": 2, "num_classes": 7},
    **{
        f"sn_cellnet/{name}": {"genotype": small_space(name).sample(random.Random(2)), "num_classes": 7, **arguments}
        for name, (_, arguments) in MACRO.items()
    },
}


def create(case: str, **kwargs: Any) -> Any:
    return timm.create_model(case.partition("/")[0], **(CASES[case] | kwargs))


def images(channels: int = 3, batch: int = 2, size: int = 16) -> Tensor:
    return torch.randn(batch, channels, size, size)


cases = pytest.mark.parametrize("case", CASES)
TOKENS = "sn_cellnet/autoformer_tiny"  # its features are tokens, pooled by the class token
TIMMS_OWN = "sn_cellnet/timm_resnet_width"  # a network of timm's class ResNet, whose tests are timm's
# The blocks behind which the resolution changes, or the network ends.
LAST = {"nasbench201": [1, 4, 7], "nas_bench_macro": [1, 4, 7], "mobilenetv3_like": [0, 1], "autoformer_tiny": [0]}
our_cases = pytest.mark.parametrize("case", [case for case in CASES if case != TIMMS_OWN])


def test_the_names() -> None:
    assert NAMES == ["sn_cellnet", *sorted(timm_models._PUBLISHED)]
    assert set(NAMES) <= set(timm_models.__all__)
    assert timm.is_model("sn_darts_v2") and not timm.is_model_pretrained("sn_darts_v2")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sn_darts_v1", 3_169_414),
        ("sn_darts_v2", 3_349_342),
        ("sn_pc_darts", 3_634_678),
        ("sn_pdarts", 3_433_798),
        ("sn_drnas", 4_099_294),
        ("sn_darts_v2_in1k", 4_718_752),
        ("sn_pc_darts_in1k", 5_342_464),
        ("sn_pdarts_in1k", 4_944_352),
        ("sn_drnas_in1k", 5_726_368),
    ],
)
def test_the_authors_sizes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in timm.create_model(name).parameters()) == parameters


def test_type_and_device_are_taken_as_by_timm_s_own_models() -> None:
    model = create("sn_cellnet", dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in create("sn_cellnet", device="meta").parameters()} == {"meta"}


@cases
def test_forward_is_features_then_head(case: str) -> None:
    model, x = create(case).eval(), images()
    features = model.forward_features(x)
    logits = model(x)
    assert (len(features), features.shape[2 if case == TOKENS else 1]) == (2, model.num_features)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, model.forward_head(features))
    pooled = model.forward_head(features, pre_logits=True)
    assert torch.equal(model.get_classifier()(pooled), logits)
    torch.testing.assert_close(pooled, features[:, 0] if case == TOKENS else features.mean(dim=(2, 3)))
    assert model.head_hidden_size == pooled.shape[1]


@cases
def test_the_default_configuration_fits_the_model(case: str) -> None:
    model = create(case, in_chans=1)
    cfg = model.default_cfg
    assert model.get_submodule(cfg["first_conv"]).in_channels == 1
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert model(images(1)).shape == (2, 7)
    if "/" not in case:
        height, width = cfg["input_size"][1:]
        assert tuple(model.eval().forward_features(images(1, 1, height)).shape[2:]) == cfg["pool_size"]
        assert height == width


@cases
def test_heads_can_be_changed(case: str) -> None:
    model, x = create(case).eval(), images()
    model.reset_classifier(3)
    assert model(x).shape == (2, 3) and model.num_classes == 3
    model.reset_classifier(4, "avg" if case == TOKENS else "catavgmax")
    assert model(x).shape == (2, 4)
    model.reset_classifier(0, "avg")
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model(x).shape == (2, model.num_features)
    model.reset_classifier(0, "")
    assert torch.equal(model(x), model.forward_features(x))
    bare = create(case, num_classes=0, global_pool="").eval()
    bare.load_state_dict(model.state_dict())
    assert torch.equal(bare(x), model(x))


@our_cases
def test_features(case: str) -> None:
    """Each map equals the one that a hand-written pass over the modules finds; the shapes are those announced."""
    torch.manual_seed(1)
    model, x = create(case).eval(), images()
    maps = []
    if "/" in case:
        state = model.stem(x)
        for block in getattr(model, model.trunk):
            state = block(state)
            maps.append(model.as_map(state))
        last_of_stage = [maps[i] for i in LAST[case.partition("/")[2]]]
    else:
        before, state = model.stem(x)
        for cell in model.cells:
            before, state = state, cell(before, state)
            maps.append(state)
        last_of_stage = maps  # of three cells, two reduce
    found = create(case, features_only=True)
    needed = found.model.state_dict().keys()
    found.model.load_state_dict({k: v for k, v in model.state_dict().items() if k in needed})
    outputs = found.eval()(x)
    assert len(outputs) == len(last_of_stage)
    for output, expected, info in zip(outputs, last_of_stage, model.feature_info, strict=True):
        assert torch.equal(output, expected)
        assert output.shape[1] == info["num_chs"]
        assert output.shape[2] == -(-16 // info["reduction"])
    assert found.feature_info.channels() == [info["num_chs"] for info in model.feature_info]
    features, listed = model.forward_intermediates(x, indices=[-1], norm=True)
    assert torch.equal(features, model.forward_features(x)) and torch.equal(listed[0], model.as_map(features))


@our_cases
def test_early_features_need_no_later_blocks(case: str) -> None:
    model = create(case, features_only=True, out_indices=(0,))
    if case != TOKENS:  # which has one resolution
        assert len(getattr(model.model, model.model.trunk)) < len(getattr(create(case), model.model.trunk))
    (output,) = model(images())
    assert output.shape[1] == model.feature_info.channels()[0]
    output.sum().backward()
    assert all(p.grad is not None for p in model.parameters())  # nothing is left that the map does not need


@cases
def test_checkpointing_changes_no_gradient(case: str) -> None:
    model, x = create(case, drop_path_rate=0.2, drop_rate=0.1), images()
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(3)
        model(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@our_cases
def test_layer_wise_learning_rates(case: str) -> None:
    model = create(case)
    optimiser = create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=0.01, layer_decay=0.75)
    scale = {p: group["lr_scale"] for group in optimiser.param_groups for p in group["params"]}
    decay = {p: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    blocks = list(getattr(model, model.trunk))
    if case in (TOKENS, "sn_cellnet/mobilenetv3_like"):  # rows of blocks
        blocks = [block for stage in blocks for block in stage]
    groups = 2 + sum(any(True for _ in block.parameters()) for block in blocks)  # the stem, the head, one a block
    expected = [0.75**i for i in reversed(range(groups))]
    assert sorted(set(scale.values())) == pytest.approx(expected)
    assert scale[next(model.stem.parameters())] == pytest.approx(expected[0])
    assert scale[model.classifier.weight] == 1.0
    assert scale[[p for block in blocks for p in block.parameters()][-1]] == pytest.approx(0.75)
    never = {model.get_parameter(name) for name in model.no_weight_decay()}
    assert all(decay[p] == (0.01 if p.dim() > 1 and p not in never else 0.0) for p in model.parameters())


def test_coarse_groups_are_the_resolutions() -> None:
    from timm.models._manipulate import group_parameters

    model = create("sn_darts_v2", layers=5)
    layer = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    by_cell = [{i for name, i in layer.items() if name.startswith(f"cells.{cell}.")} for cell in range(5)]
    assert by_cell == [{1}, {2}, {2}, {3}, {3}]
    assert layer["classifier.weight"] == 4 and set(layer.values()) == set(range(5))


@cases
def test_saving_and_loading_loses_nothing(case: str) -> None:
    one, other, x = create(case), create(case), images()
    one(x)  # moves the running statistics
    assert not any(other.load_state_dict(one.state_dict()))
    assert torch.equal(one.eval()(x), other.eval()(x))


def test_a_name_is_the_network_that_build_makes() -> None:
    torch.manual_seed(5)
    there = create("sn_pdarts").state_dict()
    torch.manual_seed(5)
    here = build(published("PDARTS"), **SMALL).state_dict()
    assert all(torch.equal(here[key], there[key]) for key in here.keys() | there.keys())


def test_drop_path_reaches_every_cell() -> None:
    rates = {m.drop_prob for m in create("sn_darts_v2", drop_path_rate=0.3).modules() if hasattr(m, "drop_prob")}
    assert rates == {0.3}


def test_an_auxiliary_head_follows_the_classes() -> None:
    model = create("sn_darts_v2", auxiliary=True)
    assert [y.shape for y in model(images())] == [(2, 7), (2, 7)]
    model.reset_classifier(3)
    assert [y.shape for y in model(images())] == [(2, 3), (2, 3)]
    model.reset_classifier(0)
    assert model(images()).shape == (2, model.num_features)
    assert create("sn_darts_v2", auxiliary=True, num_classes=0).auxiliary is None


def test_a_genotype_comes_in_four_forms(tmp_path: Any) -> None:
    import json

    cell = published("DrNAS_cifar10")
    cell.save(tmp_path / "genotype.json")
    forms = [cell, json.loads(cell.to_json()), str(tmp_path / "genotype.json"), tmp_path / "genotype.json"]
    assert [as_genotype(form) for form in [*forms, "DrNAS_cifar10"]] == [cell] * 5  # type: ignore[list-item]


HOSTILE: list[dict[str, Any]] = [
    {"genotype": {"_target_": "os.system", "command": "touch owned"}},
    {"genotype": ["DARTS_V2"]},
    {"genotype": "../../etc/passwd.json"},
    {"genotype": {"schema": 1, "space": "darts", "version": 1, "decisions": {}, "args": {"nodes": 10**9}}},
    {"genotype": {"schema": 1, "space": "darts", "version": 1, "decisions": {}, "args": {"operations": ["exec"]}}},
    {"genotype": {"schema": 1, "space": "Net", "version": 1, "decisions": {"op": "k3"}}},
    {"genotype": "DARTS_V3"},
    {"genotype": published, "channels": 4},
    {"_target_": "os.system"},
    {"channels": 10**9},
    {"layers": 10**9},
    {"channels": "4"},
    {"chanels": 4},
    {"layers": 0},
    {"stem": "os.system"},
    {"global_pool": "median"},
    {"global_pool": ""},
    {"features_only": True, "out_indices": (7,)},
]


@pytest.mark.parametrize("kwargs", HOSTILE, ids=lambda kwargs: ",".join(kwargs))
def test_a_mistake_is_one_line(kwargs: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SupernetError) as caught:
        timm.create_model("sn_cellnet", **(SMALL | kwargs))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert list(tmp_path.iterdir()) == []
