"""`supernet.retrain("runs/RUN")` takes data, size and recipe from RUN as the command line does; what is given wins."""

import logging
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import supernet
from supernet import api
from supernet.config import RetrainConfig
from supernet.presets import preset
from supernet.runs.folder import RunFolder
from supernet.space import get_space
from supernet.space.form import read_space
from supernet.space.lookup import find_genotype
from tests.stages.test_inherit import FIXTURES, FOLDER, composed, edited, searched

pytestmark = pytest.mark.usefixtures("own_folder")
NET = {"channels": 6, "layers": 4}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings with which `supernet.retrain` would train."""
    seen: list[RetrainConfig] = []
    monkeypatch.setattr(api, "run_retrain", lambda config, **_: seen.append(config))

    def settings(*args: Any, **kwargs: Any) -> RetrainConfig:
        supernet.retrain(*args, **kwargs)
        return seen[-1]

    return settings


@pytest.mark.parametrize("space", ["darts", "nasbench201", "autoformer_tiny", "darts_rnn"])
def test_it_takes_over_what_the_command_line_does(space: str, config: Any) -> None:
    """Each setting of the two is the same, except the stem that the command line's option spells out."""
    sizes: dict[str, Any] = {"nasbench201": {"cells_per_stage": 2}, "darts": NET}
    data = {"name": "text", "kwargs": {"length": 12}} if space == "darts_rnn" else FOLDER
    run = searched(space=space, data=data, network=sizes.get(space, {}))
    ours, theirs = config(run), composed(f"genotype={run}")
    assert (ours.data, ours.recipe, ours.network) == (theirs.data, theirs.recipe, theirs.network)
    assert config(Path(run, "genotype.json")).data == ours.data


def test_what_is_given_wins(config: Any) -> None:
    run = searched(data=FOLDER, network=NET)
    given = config(run, data={"name": "digits", "limit": 20}, recipe="timm_modern", network={"layers": 9})
    assert (given.data.name, given.data.limit, given.data.root) == ("digits", 20, None)
    assert given.recipe.opt == preset("recipe", "timm_modern")["recipe"]["opt"]  # type: ignore[index]
    assert given.network == {"channels": 6, "layers": 9, "stem": "cifar"}
    assert config(run, (np.ones((4, 1, 8, 8), dtype="float32"), np.arange(4) % 2)).data.name == "arrays"


def test_nothing_is_taken_over_without_a_run(config: Any) -> None:
    genotype = get_space("darts").sample(Random(0))
    for reference in (genotype, "DARTS_V2"):
        plain = config(reference)
        assert (plain.data.name, plain.network) == ("digits", {})
        assert plain.recipe == config(reference, recipe="digits").recipe
    run = searched(data={"name": "arrays", "kwargs": {"digest": "abc"}}, network=NET)
    assert config(run).data.name == "digits", "arrays have no name by which they could be read again"


def test_a_network_of_ones_own_has_the_size_of_the_search(config: Any) -> None:
    run = Path(searched("net"))
    text = (FIXTURES / "small_net.yaml").read_text()
    (run / "space.yaml").write_text(text)
    read_space(text).sample(Random(0)).save(run / "genotype.json")
    edited(run, lambda config: config.update(network={"width": 3, "in_chans": 1}))
    assert config(str(run)).network == {"width": 3}


def test_a_run_from_before_goes_on_as_it_began(config: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = searched(data=FOLDER, network=NET)
    usual = config(run, data="digits", recipe="digits", run="runs/mine")
    before = replace(usual, network={})  # as it was when nothing was taken over
    RunFolder.open(before, "retrain", find_genotype(run)[1])
    assert config(run, run="runs/mine") == before and "goes on without them" in caplog.text
    assert config(run, run="runs/other").network["layers"] == 4
    assert "taken over with the genotype: its data, network, recipe; what is given wins" in caplog.text
