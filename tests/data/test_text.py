"""Characters of a text from the command line: what is read, what is refused, search, retrain, resume and no export."""
# B batch, N windows, T characters of a window

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supernet.cli import main
from supernet.config import DataConfig, RetrainConfig, SearchConfig, from_mapping
from supernet.data import CountedLoader, EvalLoader, Splits, open_data, text
from supernet.errors import ClosedSplitError, SupernetError
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.log import read_metrics
from supernet.runs.names import data_label
from supernet.space import get_space
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search
from supernet.tasks.next_character import NextCharacter
from supernet.tasks.task import TASKS, Task
from supernet.train.trained import trained_network
from tests.support.covering import sampled

SENTENCE = "the quick brown fox jumps over the lazy dog. "
TINY: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 8,
    "data": {"name": "text", "limit": 24, "kwargs": {"length": 4}},
    "checkpoint": {"every_steps": 1},
    "log": {"every": 1, "progress": False, "tensorboard": False},
}


def opened(content: str | bytes, folder: Path, length: int = 4, **settings: Any) -> Splits:
    path = folder / "text.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_data(DataConfig(name="text", root=str(path), kwargs={"length": length}, **settings), 0)


def spelled(splits: Splits, part: Any) -> str:
    """The text of a part: its windows one behind the other."""
    source = part.source
    return "".join(splits.info.class_names[i] for i in source.characters)


def test_the_parts_are_the_text_in_a_row(tmp_path: Path) -> None:
    content = SENTENCE * 20 + "zebra " * 20
    splits = opened(content, tmp_path)
    weights, alphas = splits.for_search()
    train, val = splits.for_retrain()
    with splits.final_evaluation():
        test = splits.test()
    assert (weights.source, alphas.source) == (train.source, val.source)  # type: ignore[union-attr]
    assert "".join(spelled(splits, part) for part in (train, val, test)) == content
    assert [len(spelled(splits, part)) for part in (train, val, test)] == [816, 102, 102]
    assert list(splits.info.class_names) == [*sorted(set(content[:816])), text.UNKNOWN]


def test_the_target_is_the_next_character(tmp_path: Path) -> None:
    content = SENTENCE * 20
    train = opened(content, tmp_path, length=5).for_retrain()[0]
    inputs, targets = train.source.fetch(np.array([0, 3]), None)
    assert inputs.dtype == targets.dtype == torch.int64 and inputs.shape == targets.shape == (2, 5)
    names = sorted(set(content))
    assert ["".join(names[i] for i in row) for row in inputs] == [content[:5], content[15:20]]
    assert ["".join(names[i] for i in row) for row in targets] == [content[1:6], content[16:21]]
    assert len(train) == (720 - 1) // 5


def test_strange_characters_have_the_last_number(tmp_path: Path) -> None:
    """Those that training lacks; letters beyond ASCII and a byte order mark are nothing strange."""
    content = "\ufeff" + "naïve 例 " * 50 + "ω" * 60
    splits = opened(content.encode(), tmp_path, length=2)
    assert "\ufeff" not in splits.info.class_names and {"ï", "例"} <= set(splits.info.class_names)
    with splits.final_evaluation():
        assert set(splits.test().source.characters) == {splits.info.num_classes - 1}  # type: ignore[attr-defined]


def test_the_test_part_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = opened(SENTENCE * 20, tmp_path)
    monkeypatch.setattr(text, "_read", None)
    splits.for_search()
    with pytest.raises(ClosedSplitError):
        splits.test()


def test_the_order_is_counted(tmp_path: Path) -> None:
    train = opened(SENTENCE * 20, tmp_path).for_retrain()[0]
    loader = CountedLoader(train, batch_size=8, seed=3, stream="weights")
    whole = [batch.images for batch in loader.epoch(1)]
    assert all(torch.equal(a, b.images) for a, b in zip(whole[2:], loader.epoch(1, 2), strict=True))
    assert not torch.equal(whole[0], next(iter(EvalLoader(train, batch_size=8))).images)


def test_the_embedded_text_needs_no_file() -> None:
    splits = open_data(DataConfig(name="text"), 0)
    train, val = splits.for_retrain()
    assert val is not None and 8 * len(val) == pytest.approx(len(train), abs=8)
    assert len(train) == (text.EMBEDDED * 8 // 10 - 1) // text.LENGTH and splits.info.task == "next_character"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has 0 characters"),
        (b"short", "needs 90 or more"),
        (bytes(range(256)) * 40, "no text in UTF-8"),
        (b"plain\0" * 100, "zero bytes"),
        (SENTENCE.encode("utf-16") * 30, "UTF-8"),
        (b"a" * 1000, "nothing to predict"),
    ],
)
def test_odd_files_are_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(SupernetError, match=told) as error:
        opened(content, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("root", ["", "missing.txt", "a\0b", "pipe"])
def test_what_is_no_file_is_one_line(tmp_path: Path, root: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    with pytest.raises(SupernetError, match="data.root=") as error:
        open_data(DataConfig(name="text", root=f"{tmp_path}/{root}"), 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kwargs": {"length": 0}}, "1..4096"),
        ({"kwargs": {"length": "64"}}, "1..4096"),
        ({"kwargs": {"lenght": 3}}, "did you mean 'length'"),
        ({"pad": 4}, "data.pad"),
        ({"image_size": 32}, "data.image_size"),
    ],
)
def test_settings_that_text_has_not(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SupernetError, match=told):
        open_data(DataConfig(name="text", **settings), 0)


def test_two_texts_are_two_runs() -> None:
    assert data_label(DataConfig(name="text")) == "text"
    assert data_label(DataConfig(name="text", root="/here/a.txt")) == data_label(DataConfig(name="text", root="a.txt"))
    assert data_label(DataConfig(name="text", root="a.txt")) != data_label(DataConfig(name="text", root="b.txt"))


def test_the_measures_of_the_task() -> None:
    task = TASKS["next_character"](3)
    assert isinstance(task, Task)
    logits, targets = torch.zeros(2, 3, 4, dtype=torch.float64), torch.tensor([[0, 1, 2, 0], [0, 0, 1, 1]])
    found = task.metrics(task.sums(logits, targets))
    assert found["bpc"] == pytest.approx(math.log2(3)) and found["loss"] == pytest.approx(math.log(3))
    assert found["accuracy"] == 4 / 8  # ties go to the first
    assert task.loss(logits, targets, training=True).item() == pytest.approx(math.log(3))
    assert task.metrics(task.sums(torch.full_like(logits, torch.nan), targets))["accuracy"] == 0
    with pytest.raises(SupernetError, match="logits"):
        task.loss(torch.zeros(2, 3), targets, training=True)
    for impossible in ({"outputs": 1}, {"outputs": 3, "smoothing": 1.0}):
        with pytest.raises(SupernetError):
            NextCharacter(**impossible)


def search_config(root: Path, **more: Any) -> SearchConfig:
    space, network = {"name": "darts_rnn", "args": {"nodes": 2}}, {"hidden": 4, "dropout": 0.2}
    run = {"root": str(root), "name": "run"}
    return from_mapping(SearchConfig, {**TINY, "space": space, "network": network, "run": run, **more})


def retrain_config(root: Path, **more: Any) -> RetrainConfig:
    run, recipe = {"root": str(root), "name": "run"}, {"ema": 0.9, "smoothing": 0.1}
    values = {**TINY, "network": {"hidden": 4, "dropout": 0.2}, "recipe": recipe, "run": run, **more}
    return from_mapping(RetrainConfig, values)


def left(root: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The last checkpoint's tensors as bytes, and the log."""
    found = Checkpoints(root / "run" / "checkpoints").latest()
    assert found is not None
    parts: list[bytes] = []

    def walk(value: Any) -> None:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            walk(item)
        if isinstance(value, torch.Tensor):
            parts.append(value.numpy().tobytes())

    walk({key: value for key, value in found[1].items() if key != "seconds"})
    return b"".join(parts), read_metrics(root / "run" / "metrics.jsonl", time=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(searched, retrained) with the root folders of both runs, none of them ever stopped."""
    roots = [tmp_path_factory.mktemp(name) for name in ("search", "retrain")]
    found = run_search(search_config(roots[0]))
    return found, roots[0], run_retrain(retrain_config(roots[1]), genotype=found.genotype), roots[1]


@pytest.mark.parametrize("stop", sampled([4, 1, 3], 3))
def test_a_stopped_run_ends_with_the_same_bits(tmp_path: Path, uninterrupted: Any, stop: int) -> None:
    whole, root, trained, trained_root = uninterrupted
    assert not run_search(search_config(tmp_path / "cut"), until=stop).done
    torch.rand(7)
    assert run_search(search_config(tmp_path / "cut")).genotype == whole.genotype
    assert left(tmp_path / "cut") == left(root)
    if stop == 4:
        assert not run_retrain(retrain_config(tmp_path / "torn"), genotype=whole.genotype, until=stop).done
        torn = run_retrain(retrain_config(tmp_path / "torn"), genotype=whole.genotype)
        assert left(tmp_path / "torn") == left(trained_root)
        assert dict(torn.metrics) == dict(trained.metrics) and {"val/bpc", "test/bpc"} <= torn.metrics.keys()


@pytest.mark.parametrize("key", ["mixup", "cutmix", "auto_augment"])
def test_recipes_of_images_are_refused(tmp_path: Path, key: str) -> None:
    genotype = next(get_space("darts_rnn", nodes=2).points())
    recipe = {key: "rand-m9-mstd0.5" if key == "auto_augment" else 0.2}
    with pytest.raises(SupernetError, match=f"recipe.{key} is for images"):
        run_retrain(retrain_config(tmp_path, recipe=recipe), genotype=genotype, in_folder=False)


def test_networks_and_data_that_do_not_fit(tmp_path: Path) -> None:
    images = {"name": "digits", "limit": 40}
    with pytest.raises(SupernetError, match="data=text"):
        run_search(search_config(tmp_path, data=images), in_folder=False)
    darts = {"space": {"name": "darts"}, "network": {"channels": 2, "layers": 3}}
    with pytest.raises(SupernetError, match="cannot take samples"):
        run_search(search_config(tmp_path, **darts), in_folder=False)


def test_from_the_command_line_to_the_loaded_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(SENTENCE * 40)
    data = ["data=text", "data.root=mine.txt", "data.kwargs.length=4", "batch_size=16", "epochs=1"]
    small = ["space=darts_rnn", "space.args.nodes=2", "network.hidden=8"]
    assert main(["search", *small, *data, "run.name=found"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert rows["next"] == "supernet retrain genotype=runs/found"
    assert float(rows["val/bpc"]) > 0
    assert main([*rows["next"].split()[1:], "batch_size=16", "epochs=1", "run.name=made"]) == 0
    settings = json.loads(Path("runs/made/config.json").read_text())["config"]
    assert settings["network"] == {"hidden": 8, "dropout": 0.1} and settings["recipe"]["clip"] == 0.25
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    result = json.loads(Path("runs/made/result.json").read_text())
    assert {"test/bpc", "parameters"} <= rows.keys() and "trained_network" in rows["next"]
    assert result["selects"] == "bpc" and result["data"]["class_names"][-1] == text.UNKNOWN

    assert main(["export", "run=runs/made"]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told and "timm holds image models" in told and "trained_network" in told
    assert not Path("runs/made/model").exists()
    net = trained_network("runs/made")
    logits = net(torch.zeros(1, 3, dtype=torch.int64))
    assert not net.training and logits.shape == (1, result["arguments"]["num_classes"], 3)


def test_the_notebook_and_timm_refuse_as_well(tmp_path: Path) -> None:
    import timm

    import supernet.timm_models

    small = {"hidden": 4}
    data = {"name": "text", "limit": 24, "kwargs": {"length": 4}}
    found = supernet.search(get_space("darts_rnn", nodes=2), data=data, epochs=1, batch_size=8, network=small)
    trained = supernet.retrain(found.genotype, data=data, epochs=1, batch_size=8, network=small)
    assert "test/bpc" in trained.metrics
    with pytest.raises(SupernetError, match="timm holds image models"):
        supernet.export_model(trained, tmp_path / "model")
    with pytest.raises(SupernetError, match="timm holds image models"):
        timm.create_model("sn_cellnet", genotype=json.loads(found.genotype.to_json()))
    assert list(tmp_path.iterdir()) == []
