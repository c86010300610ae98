"""A space in a YAML file through the stages: searched, kept in the run's folder, retrained from there."""

import json
import shlex
from pathlib import Path

import pytest
import timm
import torch

import supernet
import supernet.timm_models
from supernet import Genotype, Space, SupernetError
from supernet.cli import main
from supernet.config import SearchConfig, SpaceConfig
from supernet.runs.identity import identity
from supernet.space.form import read_space, write_space
from supernet.space.lookup import find_genotype, find_space
from supernet.stages import STAGES
from supernet.stages.space_config import configured, label_of
from supernet.train.trained import trained_network

MINE = """
schema: 1
name: mine
network:
  arguments: {num_classes: 10, in_chans: 3}
  let: {width: {choice: [2, 4]}}
  body:
    seq:
      stem: {conv: {in_channels: in_chans, out_channels: width, kernel_size: {choice: [1, 3]}}}
      act: {choice: {relu: {activation: relu}, skip: identity}}
      pool: {pool: global}
      head: {linear: {in_features: width, out_features: num_classes}}
"""
CELLS = """
schema: 1
name: my_cells
cells:
  {family: top_k, macro: darts, kinds: [normal, reduce], reductions: [reduce], inputs: 2, nodes: 1, keep: 2,
  operations: [skip_connect, max_pool_3x3]}
"""
BLOCK = "from torch import nn\n\n\nclass Block(nn.Identity):\n    pass\n"
QUICK = ["data.limit=32", "epochs=1", "batch_size=16", "log.progress=false", "log.tensorboard=false"]
TINY = {"data": {"name": "digits", "limit": 32}, "epochs": 1, "batch_size": 16}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "cells.yaml").write_text(CELLS)
    return tmp_path


def runs(folder: Path, start: str) -> list[Path]:
    return sorted((folder / "runs").glob(f"{start}-*"))


def fails(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command ends."""
    capsys.readouterr()
    assert main(line) == 2
    error = "\n".join(line for line in capsys.readouterr().err.splitlines() if " INFO " not in line)
    assert "\n" not in error
    return error


def test_search_retrain_and_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "space.file=mine.yaml", *QUICK]) == 0
    (run,) = runs(folder, "mine")
    assert (run / "space.yaml").read_text() == write_space(read_space(MINE))
    assert main(["search", "space.file=mine.yaml", *QUICK]) == 0
    assert f"supernet retrain genotype=runs/{run.name}\n" in capsys.readouterr().out
    (folder / "mine.yaml").write_text("# what is told apart is the content\n" + MINE)
    assert main(["search", "space.file=./mine.yaml", *QUICK]) == 0
    assert runs(folder, "mine") == [run]

    (folder / "mine.yaml").unlink()  # the run has its own copy
    assert main(["retrain", f"genotype=runs/{run.name}", *QUICK]) == 0
    (trained,) = runs(folder, "retrain")
    assert f'trained_network as load; model = load("runs/{trained.name}")' in capsys.readouterr().out
    assert (trained / "space.yaml").read_text() == (run / "space.yaml").read_text()
    assert trained_network(trained)(torch.randn(1, 1, 8, 8)).shape == (1, 10)
    assert main(["export", f"run=runs/{trained.name}"]) == 0
    reopened = timm.create_model(f"local-dir:{trained / 'model'}", pretrained=True).eval()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(reopened(x), trained_network(trained)(x), rtol=0, atol=1e-5)


def test_cells_in_a_file_take_the_settings_of_a_group(folder: Path) -> None:
    small = ["network.channels=2", "network.layers=3"]
    assert main(["search", "space=darts", "space.file=cells.yaml", *small, *QUICK]) == 0
    (run,) = runs(folder, "my_cells")
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["network"]["layers"], config["space"]["file"]) == (3, "cells.yaml")
    assert set(Genotype.load(run / "genotype.json").decisions.values()) <= {("0", "1"), "skip_connect", "max_pool_3x3"}
    assert main(["retrain", f"genotype=runs/{run.name}", *small, *QUICK]) == 0


def test_what_the_command_line_refuses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'none.yaml'" in fails(["search", "space.file=none.yaml"], capsys)
    (folder / "bad.yaml").write_text(MINE.replace("relu: {", "relu: {{"))
    assert fails(["search", "space.file=bad.yaml"], capsys).startswith("error: bad.yaml: ")
    (folder / "bad.yaml").write_text(MINE.replace("pool: global", "pool: mean"))
    told = fails(["search", "space.file=bad.yaml", *QUICK], capsys)
    assert told.startswith("error: bad.yaml: network.body.seq.pool.pool: unknown name 'mean'")
    assert not (folder / "runs").exists()
    genotype = read_space(MINE).genotype({"width": "2", "stem/kernel_size": "1", "act": "relu"})
    genotype.save(folder / "mine.json")
    assert "'mine' is not registered, and there is no space.yaml" in fails(["retrain", "genotype=mine.json"], capsys)


def test_a_class_needs_the_user_s_leave_at_each_stage(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "yaml_run_blocks.py").write_text(BLOCK)
    monkeypatch.syspath_prepend(folder)
    (folder / "mine.yaml").write_text(MINE.replace("skip: identity", "skip: {class: yaml_run_blocks.Block}"))
    assert "space.allow=[yaml_run_blocks]" in fails(["search", "space.file=mine.yaml", *QUICK], capsys)
    assert main(["search", "space.file=mine.yaml", "space.allow=yaml_run_blocks", *QUICK]) == 0
    (run,) = runs(folder, "mine")
    following = f"supernet retrain genotype=runs/{run.name} 'allow=[yaml_run_blocks]'\n"
    assert following in capsys.readouterr().out
    assert "would be imported" in fails(["retrain", f"genotype={run}", *QUICK], capsys)
    assert main(["retrain", *shlex.split(following)[2:], *QUICK]) == 0
    (trained,) = runs(folder, "retrain")
    assert f'load("runs/{trained.name}", allow=["yaml_run_blocks"])' in capsys.readouterr().out
    with pytest.raises(SupernetError, match="would be imported"):
        supernet.search("mine.yaml", **TINY)
    assert supernet.search("mine.yaml", allow="yaml_run_blocks", **TINY).done
    for allow in ("allow=[yaml_run_blocks]", "allow=yaml_run_blocks", "space.allow=[yaml_run_blocks]"):
        assert main(["draw", "space.file=mine.yaml", allow, "to=drawn/"]) == 0


def test_in_python(folder: Path) -> None:
    found = supernet.search("mine.yaml", **TINY, run="runs/a")
    assert found.net.space.name == "mine"
    assert (folder / "runs" / "a" / "space.yaml").is_file()
    one = supernet.retrain(found, **TINY)
    other = supernet.retrain("runs/a", **TINY)
    assert one.metrics["val/loss"] == other.metrics["val/loss"]
    space = Space([supernet.space.OneOf("x", {"a": (), "b": ()})], name="bare")
    with pytest.raises(SupernetError, match="bare tree"):
        supernet.search(space, **TINY)


def test_other_data_than_those_of_the_search_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    supernet.search("mine.yaml", **TINY, run="runs/a")
    supernet.retrain("runs/a", **TINY)
    assert not [record for record in caplog.records if "on the data" in record.getMessage()]
    pair = torch.rand(16, 1, 8, 8), torch.arange(16) % 4
    supernet.retrain("runs/a", pair, epochs=1, batch_size=8)
    (told,) = [record.getMessage() for record in caplog.records if "on the data" in record.getMessage()]
    assert told.startswith("the genotype was found on the data digits and is retrained on arrays")


def test_the_space_of_a_run_without_a_registered_name(folder: Path) -> None:
    space, run = read_space(MINE), folder / "run"
    genotype = space.genotype({"width": "2", "stem/kernel_size": "1", "act": "relu"})
    run.mkdir()
    genotype.save(run / "genotype.json")
    assert find_genotype(run) == (genotype, genotype.hash)
    with pytest.raises(SupernetError, match="no space.yaml beside"):
        find_space(run, genotype)
    (run / "space.yaml").write_text(MINE)
    label = find_genotype(run)[1]
    assert label.startswith(f"{genotype.hash}-")
    assert find_genotype(run / "genotype.json") == (genotype, label)
    assert find_space(run / "genotype.json", genotype).encode(genotype) == space.encode(genotype)
    (run / "space.yaml").write_text(MINE.replace("[2, 4]", "[4, 8]"))
    with pytest.raises(SupernetError, match="width"):
        find_space(run, genotype)
    assert find_genotype(run)[1] != label
    (run / "space.yaml").write_text("schema: [")
    with pytest.raises(SupernetError, match="space.yaml: "):
        find_genotype(run)


def test_the_identity_of_a_run_has_the_content_and_not_the_path(folder: Path) -> None:
    (folder / "copy.yaml").write_text("# a copy\n" + MINE)
    (folder / "other.yaml").write_text(MINE.replace("[2, 4]", "[2, 8]"))

    def digest(file: str | None, **more: object) -> str:
        config = SpaceConfig(file=file, **more)  # type: ignore[arg-type]
        return identity(SearchConfig(space=config), "search", label_of(config))[1]

    assert digest("mine.yaml") == digest("copy.yaml") == digest("mine.yaml", name="nasbench201", allow=["x"])
    assert len({digest("mine.yaml"), digest("other.yaml"), digest(None)}) == 3
    assert configured(SpaceConfig(file="mine.yaml", name="nasbench201")).name == "mine"


@pytest.mark.parametrize(
    ("stage", "given", "added"),
    [
        ("search", ["space.file=a.yaml"], ["~space"]),
        ("search", ["+space.file=a.yaml", "seed=1"], ["~space"]),
        ("search", ["space.file=a.yaml", "space=darts"], []),
        ("search", ["space.file=a.yaml", "~space"], []),
        ("search", ["space.file=a.yaml", "experiment=x"], []),
        ("search", ["space.file=null"], []),
        ("search", ["seed=1"], []),
        ("retrain", ["genotype=DARTS_V2"], []),
        ("retrain", ["genotype=run"], ["~network"]),
        ("retrain", ['genotype="run"'], ["~network"]),
        ("retrain", ["genotype=run", "network=small"], []),
        ("retrain", ["genotype=cells"], []),
        ("export", ["run=run"], []),
    ],
)
def test_the_group_is_left_out_where_a_file_brings_a_network(
    folder: Path, stage: str, given: list[str], added: list[str]
) -> None:
    for name, text in (("run", MINE), ("cells", CELLS)):
        (folder / name).mkdir()
        (folder / name / "space.yaml").write_text(text)
    assert STAGES[stage].overrides(given) == [*given, *added]
