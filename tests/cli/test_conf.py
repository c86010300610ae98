"""The YAML files: each composes, explains itself, and agrees with the dataclasses and registries that it names."""

import dataclasses
import inspect
import itertools
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from supernet.cli.run_stage import prepare
from supernet.cli.settings import register
from supernet.cli.validate import Checked, check
from supernet.config import DataConfig, MethodConfig, RecipeConfig, from_mapping
from supernet.data import DATASETS
from supernet.methods import Method
from supernet.network.macro import macro_of
from supernet.presets import merged, preset, preset_names
from supernet.space import SPACES, get_space
from supernet.stages import STAGES
from tests.support.covering import sampled

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
SCHEMAS = {name: stage.config for name, stage in STAGES.items() if stage.config is not None}
PARTS = {
    "search": {"space", "data", "method", "experiment"},
    "retrain": {"network", "data", "recipe", "experiment"},
    "compare": {"suite"},
}


@pytest.fixture(autouse=True)
def schemas() -> None:
    register()


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def checked(stage: str, *overrides: str) -> Checked:
    """Composing takes a quarter of a second, and several tests look at the same frozen settings."""
    return check(STAGES[stage], STAGES[stage].overrides(overrides))


def settings(stage: str, *overrides: str):
    (config,) = checked(stage, *overrides).configs
    return config


def test_the_groups_are_these() -> None:
    """A new option is a promise to users: it is entered here on purpose, but for methods, which are many."""
    found = {f"{path.parent.name}/{path.stem}" if path.parent != CONF else path.stem for path in FILES}
    assert {"method/darts_first_order", "method/darts_second_order", "method/darts_exact"} <= found
    assert {name for name in found if not name.startswith("method/")} == {
        "common", "search", "retrain", "compare", "export", "suite/mini",
        "space/darts", "space/darts_rnn", "space/nasbench201", "space/nasnet", "space/s1", "space/s2", "space/s3",
        "space/s4",
        "space/autoformer_tiny", "space/grammar", "space/mobilenetv3_like", "space/nas_bench_macro",
        "space/timm_resnet_width",
        "data/digits", "data/cifar10", "data/cifar100", "data/mnist", "data/fashion_mnist", "data/svhn", "data/folder",
        "data/text", "data/timm", "data/csv", "data/cluttered_digits",
        "recipe/digits", "recipe/darts_cifar", "recipe/darts_imagenet", "recipe/darts_rnn", "recipe/timm_modern",
        "network/small", "network/darts_cifar", "network/darts_imagenet", "network/darts_rnn", "network/nasbench201",
        "network/robust_darts",
        "network/autoformer_tiny", "network/grammar", "network/mobilenetv3_like", "network/nas_bench_macro",
        "network/timm_resnet_width",
        "experiment/darts_cifar10_search", "experiment/darts_cifar10_retrain", "experiment/darts_imagenet_retrain",
        "experiment/folder_processor_search", "experiment/folder_processor_retrain",
        "experiment/darts_rnn_text_search", "experiment/nasbench201_cifar10_search",
    }  # fmt: skip


@pytest.mark.parametrize("stage", SCHEMAS)
def test_a_stage_without_overrides_has_the_defaults_of_its_dataclass(stage: str) -> None:
    """All but what the default parts choose: YAML holds no second copy of the defaults."""
    default, composed = SCHEMAS[stage](), settings(stage)
    chosen = {"space", "network", "method", "recipe"}
    for field in dataclasses.fields(default):
        if field.name not in chosen:
            assert getattr(composed, field.name) == getattr(default, field.name), field.name


# The short run composes each file by the command at its head as well.
@pytest.mark.parametrize(
    "case",
    sampled(
        [
            (stage, group, option)
            for stage, groups in PARTS.items()
            for group in sorted(groups - {"experiment"})
            for option in options(group)
        ],
        4,
    ),
    ids="-".join,
)
def test_every_option_composes(case: tuple[str, str, str]) -> None:
    stage, group, option = case
    assert type(settings(stage, f"{group}={option}")) is SCHEMAS[stage]


@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_composes_for_its_stage(option: str) -> None:
    stage = option.rpartition("_")[2]
    config = settings(stage, f"experiment={option}")
    assert type(config) is SCHEMAS[stage]
    assert config.data.name != "digits"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_opens_with_what_it_is_and_a_command_that_composes(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    comments = [line for line in head if not line.startswith("# @package")]
    assert comments
    if path.parent == CONF and path.stem == "common":
        return
    if path.parent != CONF:
        assert any("http" in line for line in comments), "a link to where it comes from"
    (command,) = (line.removeprefix("#").strip() for line in comments if re.match(r"#\s+supernet \w+ ", line))
    _, stage, *overrides = shlex.split(command)
    assert checked(stage, *overrides).runs


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_numbers_are_numbers_for_every_reader_of_yaml(path: Path) -> None:
    """YAML 1.1 reads 3e-4 as text: notebooks take these files through PyYAML."""

    def texts(value: object):
        if isinstance(value, dict):
            for item in value.values():
                yield from texts(item)
        elif isinstance(value, str):
            yield value

    values = list(texts(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert [v for v in values if re.fullmatch(r"[-+.\d]+e[-+\d]+", v)] == []


@pytest.mark.parametrize(
    ("group", "schema"), [("data", DataConfig), ("method", MethodConfig), ("recipe", RecipeConfig)]
)
def test_presets_for_notebooks_are_the_same_files(group: str, schema: type) -> None:
    assert preset_names(group) == options(group)
    for name in preset_names(group):
        stage = "retrain" if group == "recipe" else "search"
        assert from_mapping(schema, preset(group, name)[group]) == getattr(settings(stage, f"{group}={name}"), group)


def test_spaces_repeat_the_arguments_of_their_factories() -> None:
    for name in options("space"):
        config = settings("search", f"space={name}")
        defaults = {k: p.default for k, p in inspect.signature(SPACES[name]).parameters.items()}
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in config.space.args.items()}
        assert given == defaults
        prepare(STAGES["search"], config)


@pytest.mark.parametrize(
    ("stage", "group", "kind"), [("search", "space", "relaxed"), ("retrain", "network", "discrete")]
)
def test_networks_take_the_keys_that_the_files_give(stage: str, group: str, kind: str) -> None:
    for name in options(group):
        space = get_space(name if name in SPACES else "darts")
        taken = inspect.signature(getattr(macro_of(space), kind)).parameters
        assert set(settings(stage, f"{group}={name}").network) <= set(taken)


def test_names_in_the_files_are_registered() -> None:
    for name in options("method"):
        method = settings("search", f"method={name}").method
        assert method.name == name
        Method(method)  # every part that it names is registered, and they go together
    assert all(settings("search", f"data={name}").data.name in DATASETS for name in options("data"))


def test_a_method_may_set_anything_and_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    text = (
        "# @package _global_\nmethod: {name: mine, hypergradient: exact}\nalphas: {lr: 0.125}\nnetwork: {partial: 4}\n"
    )
    (tmp_path / "method" / "mine.yaml").write_text(text)
    words = ["--config-dir", str(tmp_path), "method=mine"]
    config = settings("search", *words)
    assert (config.method.name, config.method.hypergradient, config.alphas.lr) == ("mine", "exact", 0.125)
    assert config.network == settings("search").network | {"partial": 4}
    assert config.alphas.beta1 == settings("search").alphas.beta1
    config = settings("search", *words, "alphas.lr=0.5", "network.partial=2", "method.warmup_epochs=3")
    assert (config.alphas.lr, config.network["partial"], config.method.warmup_epochs) == (0.5, 2, 3)


def test_presets_are_merged_key_by_key() -> None:
    assert merged({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}}, {"c": {}}) == {
        "a": {"x": 1, "y": 4}, "b": 3, "c": {},
    }  # fmt: skip
    assert merged({"a": {"x": 1}}, {"a": 5}) == {"a": 5}


def test_the_presets_of_darts_are_the_published_numbers() -> None:
    """DARTS (arXiv:1806.09055), section 3 and the authors' code; written out, because the files are what is tested."""
    found = settings("search", "experiment=darts_cifar10_search")
    assert (found.epochs, found.batch_size, found.alpha_share, found.data.cutout) == (50, 64, 0.5, 0)
    weights, alphas = found.weights, found.alphas
    assert (weights.lr, weights.min_lr, weights.momentum, weights.weight_decay, weights.clip) == (
        0.025, 0.001, 0.9, 3e-4, 5.0,
    )  # fmt: skip
    assert (alphas.lr, alphas.weight_decay, alphas.beta1, alphas.beta2) == (3e-4, 1e-3, 0.5, 0.999)
    assert (found.network["channels"], found.network["layers"]) == (16, 8)

    trained = settings("retrain", "experiment=darts_cifar10_retrain")
    recipe = trained.recipe
    assert (trained.epochs, trained.batch_size, trained.data.cutout) == (600, 96, 16)
    assert (recipe.opt, recipe.lr, recipe.min_lr, recipe.sched) == ("sgd", 0.025, 0.0, "cosine")
    assert (recipe.weight_decay, recipe.drop_path, recipe.auxiliary, recipe.clip) == (3e-4, 0.2, 0.4, 5.0)
    assert trained.network == {"channels": 36, "layers": 20, "stem": "cifar"}

    large = settings("retrain", "experiment=darts_imagenet_retrain")
    assert (large.epochs, large.batch_size, large.recipe.lr, large.recipe.weight_decay) == (250, 128, 0.1, 3e-5)
    assert (large.recipe.sched, large.recipe.decay_rate, large.recipe.decay_epochs) == ("step", 0.97, 1)
    assert (large.recipe.smoothing, large.recipe.auxiliary, large.data.image_size) == (0.1, 0.4, 224)
    assert large.network == {"channels": 48, "layers": 14, "stem": "imagenet"}


def test_defaults_of_retraining_suit_small_images() -> None:
    config = settings("retrain")
    assert config.epochs <= 50
    assert config.recipe.drop_path < 0.2
    assert config.network["channels"] * config.network["layers"] <= 64


def test_a_part_brings_its_own_keys() -> None:
    assert settings("search", "space=nasbench201").network == {"channels": 16, "cells_per_stage": 5}
    assert settings("search", "space=nasbench201", "network.cells_per_stage=2").network["cells_per_stage"] == 2
    assert settings("retrain", "network=nasbench201").network == {"channels": 16, "cells_per_stage": 5}
