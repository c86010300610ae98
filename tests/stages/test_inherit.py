"""`supernet retrain genotype=runs/RUN` takes data, size and recipe from RUN; what is typed wins; no run is renamed."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supernet.cli import main
from supernet.cli import program as program_module
from supernet.cli.children import child_name
from supernet.cli.inherit import inherited_by, joined
from supernet.cli.settings import register
from supernet.cli.validate import check
from supernet.config import SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.presets import merged, preset
from supernet.runs.folder import RunFolder
from supernet.space import get_space
from supernet.space.form import read_space
from supernet.stages import STAGES
from supernet.stages.inherited.words import _recipe, inherited_words

pytestmark = pytest.mark.usefixtures("own_folder")
RETRAIN = STAGES["retrain"]
FOLDER = {"name": "folder", "root": "my flowers", "image_size": 32, "flip": False, "limit": 9, "pad": 2}
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def searched(name: str = "RUN", space: str = "darts", **settings: object) -> str:
    """The folder of a search with these settings, with some genotype in it; nothing is trained."""
    values = merged(preset("space", space), settings, {"run": {"name": name}})
    run = RunFolder.open(from_mapping(SearchConfig, values), "search", "label")
    get_space(space).sample(random.Random(0)).save(run.genotype_path)
    return f"runs/{name}"


def composed(*words: str) -> Any:
    """The settings of a retraining with these words."""
    register()
    return check(RETRAIN, joined(RETRAIN.overrides(words), inherited_by(RETRAIN, words).words)).configs[0]


def test_data_size_and_recipe_are_those_of_the_search() -> None:
    run = searched(data=FOLDER, network={"channels": 6, "layers": 4}, batch_size=8, seed=5, epochs=3)
    config = composed(f"genotype={run}")
    data = config.data
    assert (data.name, data.root, data.image_size, data.flip) == ("folder", "my flowers", 32, False)
    assert (data.limit, data.pad) == (None, None), "how one training cuts and augments its data is its own"
    assert config.network == {"channels": 6, "layers": 4, "stem": "cifar"}
    assert (config.seed, config.epochs, config.batch_size) == (0, 50, 64)
    assert vars(config.recipe) == vars(config.recipe) | preset("recipe", "digits")["recipe"]  # type: ignore[operator]


DATA = ["data=folder", 'data.root="my flowers"', "data.image_size=32", "data.flip=false"]
NETWORK, RECIPE = ["network.channels=6", "network.layers=4"], ["recipe=digits"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("seed=3 data.limit=5 epochs=2", [*DATA, *NETWORK, *RECIPE]),
        ("data.image_size=64", [*DATA[:2], DATA[3], *NETWORK, *RECIPE]),
        ("data.root=other", [DATA[0], *DATA[2:], *NETWORK, *RECIPE]),
        ("data=cifar10 data.root=x", [*NETWORK, *RECIPE]),
        ("data.name=mnist", [*NETWORK, *RECIPE]),
        ("network.layers=9", [*DATA, NETWORK[0], *RECIPE]),
        ("network=darts_cifar", [*DATA, *RECIPE]),
        ("~network", [*DATA, *RECIPE]),
        ("recipe=darts_cifar", [*DATA, *NETWORK]),
        ("recipe.lr=3", [*DATA, *NETWORK, *RECIPE]),
        ("experiment=darts_cifar10_retrain data.root=x", []),
        ("--config-name=mine", []),
        ("-cd network --cfg job -p data", [*DATA, *NETWORK, *RECIPE]),
    ],
)
def test_what_is_typed_wins(typed: str, expected: list[str]) -> None:
    run = searched(data=FOLDER, network={"channels": 6, "layers": 4})
    assert inherited_words([f"genotype={run}", *typed.split()]) == expected
    assert inherited_words([*typed.split(), f"genotype={run}/genotype.json"]) == expected


@pytest.mark.parametrize(
    ("space", "settings", "expected"),
    [
        ("nasbench201", {"network": {"cells_per_stage": 2}}, "network=nasbench201 network.cells_per_stage=2"),
        ("nasnet", {}, ""),
        ("s2", {"network": {"partial": 4, "affine": True}}, "network.channels=16 network.layers=8"),
        ("s2", {"network": {"stem_multiplier": 2, "layers": 5}}, "network.channels=16 ++network.stem_multiplier=2"),
        ("darts_rnn", {"data": {"name": "text"}}, "network=darts_rnn network.hidden=64"),
        ("grammar", {"network": {"channels": 4}}, "network=grammar network.channels=4"),
    ],
)  # fmt: skip
def test_each_space_brings_its_network(space: str, settings: dict[str, Any], expected: str) -> None:
    words = inherited_words([f"genotype={searched(space=space, **settings)}"])
    recipe = "darts_rnn" if space == "darts_rnn" else "digits"
    assert words[1:] == [*expected.split(), f"recipe={recipe}"]


def test_a_genotype_without_a_run_brings_what_its_space_needs() -> None:
    for space, expected in (("nasbench201", ["network=nasbench201"]), ("darts", [])):
        get_space(space).sample(random.Random(0)).save("mine.json")
        assert inherited_words(["genotype=mine.json"]) == expected
    assert inherited_words(["genotype=DARTS_V2"]) == inherited_words(["genotype=nowhere.json"]) == []
    get_space("darts_rnn").sample(random.Random(0)).save("mine.json")
    assert inherited_words(["genotype=mine.json", "network=darts_rnn"]) == ["recipe=darts_rnn"]


def test_a_transformer_gets_the_recipe_for_one_where_the_data_are_in_colour() -> None:
    kinds = FOLDER, FOLDER | {"in_chans": 1}, {"name": "digits"}
    recipes = [_recipe("autoformer_tiny", data, set()) for data in kinds]
    assert recipes == [["recipe=timm_modern"], ["recipe=digits"], ["recipe=digits"]]
    assert _recipe("autoformer_tiny", FOLDER, {"data"}) == ["recipe=digits"], "other data, of which nothing is known"


def test_nasbench201_is_composed_without_more_words() -> None:
    config = composed(f"genotype={searched(space='nasbench201', network={'cells_per_stage': 2})}")
    assert config.network == {"channels": 16, "cells_per_stage": 2}


def test_a_space_of_ones_own() -> None:
    """Cells in a file have the size of the search, which is the supernet's own where nothing says another."""
    cells = """
schema: 1
name: my_cells
cells: {family: top_k, macro: darts, kinds: [normal, reduce], reductions: [reduce], inputs: 2, nodes: 1, keep: 2,
  operations: [skip_connect, max_pool_3x3]}
"""
    net = (FIXTURES / "small_net.yaml").read_text()
    for name, text, network in (("cells", cells, {"partial": 2}), ("net", net, {"width": 3, "in_chans": 1})):
        run = Path(searched(name))
        (run / "space.yaml").write_text(text)
        read_space(text).sample(random.Random(0)).save(run / "genotype.json")
        edited(run, lambda config, network=network: config.update(network=network))
    assert inherited_words(["genotype=runs/cells"])[1:-1] == ["network.channels=16", "network.layers=8"]
    assert inherited_words(["genotype=runs/net"])[1:-1] == ["++network.width=3"]
    assert composed("genotype=runs/net").network == {"width": 3}


def edited(run: str | Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the settings that the run has noted."""
    path = Path(run, "config.json")
    stored = json.loads(path.read_text())
    change(stored["config"])
    path.write_text(json.dumps(stored))


def test_the_sizes_that_settings_leave_out_are_those_of_the_networks() -> None:
    import inspect

    from supernet.network.macro import macro_of

    for space in ("darts", "nasbench201", "darts_rnn", "grammar", "mobilenetv3_like", "nas_bench_macro"):
        parameters = inspect.signature(macro_of(get_space(space)).relaxed).parameters
        sizes = {k: v for k, v in preset("space", space)["network"].items() if k in parameters}  # type: ignore[attr-defined]
        assert sizes and sizes == {key: parameters[key].default for key in sizes}, space


def test_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(network={"channels": 6})
    monkeypatch.setattr(program_module, "perform", lambda stage, config: None)
    assert main(["retrain", f"genotype={run}", "network.layers=7"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "taken over" in line]
    words = "data=digits network.channels=6 recipe=digits"
    assert line.endswith(f"taken over with the genotype: {words}; what is typed wins")


def test_the_settings_that_are_shown_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    run = searched(network={"channels": 6})
    assert main(["retrain", f"genotype={run}", "--cfg", "job", "-p", "network"]) == 0
    assert capsys.readouterr() == ("# @package network\nchannels: 6\nlayers: 8\nstem: cifar\n", "")


def test_a_run_from_before_keeps_its_name() -> None:
    """Its data were typed, as the next command of then did."""
    register()
    words = [f"genotype={searched(network={'channels': 6})}", "data=folder", "data.root=flowers"]
    (before,) = check(RETRAIN, words).configs  # as they were read before anything was taken over
    label = RETRAIN.label(before)  # type: ignore[misc]
    path = RunFolder.open(before, "retrain", label.text, prefix=label.prefix).path
    kept = inherited_by(RETRAIN, words)
    assert kept.words == [] and "goes on without them; run.fresh=true, or another run.name" in kept.note
    assert inherited_by(RETRAIN, [*words, "run.fresh=true"]).words[0] == "network.channels=6"
    now = composed(*words, "run.fresh=true")
    now = replace(now, run=replace(now.run, fresh=False))
    assert RunFolder.open(now, "retrain", label.text, prefix=label.prefix).path != path
    assert composed(*words) == now, "of two the present one comes first"


def test_all_typed_gives_the_name_of_before() -> None:
    run = searched(network={"channels": 6})
    assert inherited_words([f"genotype={run}", "data=digits", "network=small", "recipe=digits"]) == []


def test_a_sweep_takes_over_what_its_runs_share(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = searched(network={"channels": 6}), searched("other", network={"channels": 6}, seed=1)
    configs: list[Any] = []
    monkeypatch.setattr(program_module, "perform", lambda stage, config: configs.append(config))
    assert main(["retrain", "-m", f"genotype={one},{other}"]) == 0
    assert [config.network["channels"] for config in configs] == [6, 6]
    names = [child_name("retrain", [f"genotype={run}"]) for run in (one, other)]
    assert [config.run.name for config in configs] == names, "what was taken over names no run"
    third = searched("third", network={"channels": 4})
    with pytest.raises(SupernetError, match="sweep differ in network.channels=4, network.channels=6: retrain them"):
        inherited_words(["-m", f"genotype={one},{third}"])


def test_a_run_of_a_notebook_brings_no_arrays() -> None:
    run = searched()
    edited(run, lambda config: config.update(data={"name": "arrays", "kwargs": {"digest": "abc"}}))
    assert not [word for word in inherited_words([f"genotype={run}"]) if word.startswith("data")]


@pytest.mark.parametrize(
    ("change", "told"),
    [({"root": "${oc.env:HOME}"}, "is not looked up"), ({"kwargs": {"x=1 hydra.run": 2}}, "is no name of a setting")],
)
def test_a_run_of_a_stranger_adds_only_plain_settings(change: dict[str, object], told: str) -> None:
    run = searched(data=FOLDER)
    edited(run, lambda config: config["data"].update(change))
    with pytest.raises(SupernetError, match=told):
        inherited_words([f"genotype={run}"])
