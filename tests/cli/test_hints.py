"""Hints that help: never what was typed, paths below one's home, and no traceback for any bad line."""

from pathlib import Path

import numpy as np
import pytest

import supernet
from supernet.cli import main
from supernet.errors import SupernetError, nearest, unknown
from tests.support.covering import sampled

LISTS = {
    "seed": ["x", "-1", "1.5"], "epochs": ["0", "many"], "batch_size": ["1", "null"], "amp": ["fp8"],
    "device": ["cuda:99x"], "executor": ["fast"], "capture": ["on"], "alpha_share": ["0", "2"], "dead_cells": ["bury"],
    "data": ["cifar11"], "data.limit": ["0"], "data.pad": ["-1"], "data.resident": ["maybe"], "space": ["dart"],
    "method": ["drats"], "method.relaxation": ["hard"], "method.order": ["both"], "method.hypergradient": ["zeroth"],
    "weights.lr": ["0", "-1", "quick"], "weights.momentum": ["1"], "alphas.beta1": ["2"], "log.every": ["0"],
    "network.layers": ["0", "two"], "network.channels": ["-3"], "run.allow_changes": ["[seed]"], "sede": ["1"],
    "checkpoint.keep": ["0"], "guard.skips": ["-1"], "experiment": ["none_such"], "space.args.nodes": ["99", "no"],
}  # fmt: skip
LINES = [f"search {key}={value}" for key, values in LISTS.items() for value in values]
LINES += [
    "search network.layers", "search +cluster=x", "search ++=1", "search a=b=c", "search -x", "search data.root=[",
    "retrain genotype=nowhere", "retrain genotype=runs/none", "export run=nowhere", "export", "retrain", "doctor what",
    "draw genotype", "draw space=x", "demo now", "search space.file=none.yaml", "retrain recipe=x", "t4",
    "search -m seed=a,b", "retrain recipe.lr=0", "retrain recipe.sched=plateau genotype=DARTS_V2",
    "search data=folder data.root=~/none",
]  # fmt: skip


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize("part", sampled(range(6), 6))
def test_a_bad_line_is_one_line(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    for line in LINES[part::6]:
        words = line.split()
        code = main([*words, "run.root=runs"] if words[0] in ("search", "retrain") else words)
        error = capsys.readouterr().err
        assert code == 2, line
        assert "Traceback" not in error, line
        assert len([text for text in error.splitlines() if text.startswith("error: ")]) == 1, (line, error)
    assert not Path("runs").exists(), "nothing was begun"


def test_a_hint_is_never_what_was_typed() -> None:
    assert nearest("network.layers", ["network.layers", "network.layer"]) == "network.layer"
    assert nearest("t4", ["t4"]) is None
    assert nearest("darts_first", ["sdarts_rs", "darts_first_order"]) == "darts_first_order"
    assert "did you mean" not in unknown("setting", "t4", ["t4"])


@pytest.mark.usefixtures("own_folder")
def test_a_path_below_one_s_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "my home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert main(["search", "data=folder", "data.root=~/pictures", "run.root=~/runs"]) == 2
    assert f"data.root={home}/pictures is no folder" in capsys.readouterr().err
    supernet.space.published("DARTS_V2").save(home / "cell.json")
    assert main(["draw", "genotype=~/cell.json", "to=~/out.svg"]) == 0
    assert list(home.glob("out*.svg"))


def test_a_policy_that_timm_does_not_know(tmp_path: Path) -> None:
    import torch

    from supernet.config import RecipeConfig
    from supernet.data.augment import Augment
    from supernet.data.sources import ImageInfo, TensorSource
    from supernet.data.view import View
    from supernet.train.recipe import transformed

    view = View(
        TensorSource(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long()), np.arange(2), Augment()
    )
    info = ImageInfo(name="x", num_classes=2, image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(SupernetError, match="recipe.auto_augment='banana' is no policy of timm"):
        transformed(view, info, RecipeConfig(auto_augment="banana"))
    assert transformed(view, info, RecipeConfig(auto_augment="rand-m9")) is not view
