"""Random cells of equal size beside a retraining: the same recipe, resumable, told, refused where senseless."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import supernet
from supernet import cost
from supernet.cli import main
from supernet.config import RetrainConfig, from_mapping
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.space import Genotype
from supernet.space.lookup import find_genotype
from supernet.stages.controls.beside import Control, beside_chance, control_rows, controls_of
from supernet.stages.run_retrain import run_retrain

NETWORK = {"channels": 2, "cells_per_stage": 1}
WORDS = [
    "network=nasbench201", "network.channels=2", "network.cells_per_stage=1", "data.limit=40", "epochs=1",
    "batch_size=20", "recipe.auxiliary=0", "log.tensorboard=false", "log.progress=false", "run.root=runs",
]  # fmt: skip


def tiny(**more: Any) -> RetrainConfig:
    values: dict[str, Any] = {"epochs": 1, "batch_size": 20, "data": {"limit": 40}, "network": NETWORK}
    values |= {"recipe": {"auxiliary": 0.0}, "log": {"tensorboard": False, "progress": False}}
    return from_mapping(RetrainConfig, values | more)


CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def size(genotype: Genotype) -> int:
    return cost.parameters(genotype, in_chans=1, num_classes=10, **NETWORK)


@pytest.mark.usefixtures("own_folder")
def test_they_are_ordinary_runs_of_equal_size_and_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cell.json").write_text(CELL)
    assert main(["retrain", "genotype=cell.json", "controls=2", *WORDS]) == 0
    shown = capsys.readouterr().out
    (found,) = [run for run in map(RunFolder, Path("runs").iterdir()) if "controls" in run.result]
    controls = controls_of(found.result, found.result_path)
    own = find_genotype(CELL)[0]
    assert len({own.hash, *(one.genotype for one in controls)}) == 3
    for number, one in enumerate(controls, start=1):
        run = RunFolder(Path(one.folder or ""))
        assert one.score == run.result["metrics"]["test/top1"] and one.parameters == run.result["parameters"]
        assert abs(one.parameters - size(own)) <= 0.1 * size(own)
        assert f"random {number}" in shown and f"{one.score:.4f}, {one.parameters:,} parameters" in shown
        mine, its = dict(found.config["identity"]), run.config["identity"]
        assert mine.pop("controls") == 2
        assert {**mine, "label": one.genotype} == its, "all but the genotype is the same"
    plain = ["retrain", f"genotype={controls[0].folder}/genotype.json", *WORDS]
    assert main(plain) == 0, "the same run as without a found one beside it"
    assert "beside chance" in shown and "noise" in shown
    assert len(list(Path("runs").iterdir())) == 3

    ended = {one.folder: (Path(one.folder or "") / "result.json").stat().st_mtime_ns for one in controls}
    found.result_path.unlink()  # as if it had been stopped before its end
    assert main(["retrain", "genotype=cell.json", "controls=2", *WORDS]) == 0
    assert ended == {folder: (Path(folder or "") / "result.json").stat().st_mtime_ns for folder in ended}
    assert controls_of(found.result, found.result_path) == controls


def test_of_data_at_hand_and_of_a_named_run(tmp_path: Path) -> None:
    """The test split opens once for each network."""
    torch.manual_seed(0)
    data = torch.randn(40, 1, 8, 8), torch.arange(40) % 10
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 20, "network": NETWORK, "recipe": {"auxiliary": 0.0}}
    trained = supernet.retrain(CELL, data, test=data, controls=1, run=tmp_path / "mine", **settings)
    (control,) = trained.controls
    assert (control.metric, control.folder) == ("test/top1", str(tmp_path / "mine-random-1"))
    again = supernet.retrain(CELL, data, test=data, controls=1, run=tmp_path / "mine", **settings)
    assert again.controls == trained.controls


def test_what_cannot_be_is_refused() -> None:
    genotype = find_genotype(CELL)[0]
    with pytest.raises(SupernetError, match=r"controls=-1 must lie in 0\.\.1000"):
        tiny(controls=-1)
    wide = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    with pytest.raises(SupernetError, match=r"controls=9: only \d of 9 random cells within 10 %.*; controls=\d"):
        run_retrain(tiny(controls=9), genotype=find_genotype(wide)[0], in_folder=False)
    data = torch.randn(40, 1, 8, 8), torch.arange(40) % 10
    with pytest.raises(SupernetError, match="a test split or a validation part: set val_fraction above 0"):
        supernet.retrain(genotype, data, controls=1, val_fraction=0.0, epochs=1, batch_size=20, network=NETWORK)


@pytest.mark.parametrize(
    "controls", [1, {}, [1], [{}], [{"genotype": "a", "parameters": "x"}], [{"genotype": "a", "parameters": True}]]
)
def test_a_damaged_result_is_one_line(controls: Any) -> None:
    with pytest.raises(SupernetError, match=r"result\.json is damaged: ") as caught:
        controls_of(json.loads(json.dumps({"controls": controls})), Path("result.json"))
    assert "\n" not in str(caught.value)


def test_the_words() -> None:
    one = Control("a", 10, "test/top1", 0.5, True, 1.0, None)
    assert control_rows(0.75, [one])["beside chance"].startswith("0.2500 better than one random cell of equal size")
    assert beside_chance(0.5, [one]).startswith("as good as one random cell")
    three = [replace(one, score=score) for score in (0.1, 0.5, 0.6)]
    assert beside_chance(0.25, three).startswith("0.2500 worse than the median of 3 random cells")
    assert beside_chance(0.25, [replace(one, maximise=False)]).startswith("0.2500 better than"), "an error"
    assert control_rows(0.5, []) == {}
