"""Whole searches at the smallest size: what they read, what they write, and that every part of them takes part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supernet.config import RetrainConfig, SearchConfig, from_mapping
from supernet.data import digits
from supernet.data.splits import open_data
from supernet.errors import ClosedSplitError
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search

TINY: dict[str, Any] = {"epochs": 1, "batch_size": 10, "data": {"limit": 60}, "log": {"progress": False}}


def search_config(root: Path, **more: Any) -> SearchConfig:
    network = {"channels": 2, "layers": 3}
    space = {"name": "darts", "args": {"nodes": 1}}
    return from_mapping(
        SearchConfig, {**TINY, "space": space, "network": network, "run": {"root": str(root), "name": "run"}, **more}
    )


def test_a_search_never_reads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is not even opened; retraining opens it once, at its end."""
    read = digits.read_digits
    opened: list[bool] = []

    def watched(train: bool) -> Any:
        opened.append(train)
        return read(train)

    monkeypatch.setattr(digits, "read_digits", watched)
    config = search_config(tmp_path)
    splits = open_data(config.data, config.seed)
    found = run_search(config, splits=splits)
    assert opened == [True]
    with pytest.raises(ClosedSplitError):
        splits.test()
    retrain = {**TINY, "network": {"channels": 2, "layers": 2}, "run": {"root": str(tmp_path), "name": "retrained"}}
    run_retrain(from_mapping(RetrainConfig, retrain), genotype=found.genotype)
    assert opened == [True, True, False]


def test_no_sample_of_the_test_split_is_in_any_other() -> None:
    splits = open_data(search_config(Path()).data, 0)
    whole = open_data(from_mapping(SearchConfig, {}).data, 0)
    with whole.final_evaluation():
        test = {picture.tobytes() for picture in _pixels(whole.test())}
    weights, alphas = splits.for_search()
    assert not test & {picture.tobytes() for view in (weights, alphas) for picture in _pixels(view)}
    assert not set(weights.index) & set(alphas.index)


def test_tensorboard_shows_losses_accuracies_alphas_and_the_drawn_cells(tmp_path: Path) -> None:
    run_search(search_config(tmp_path, log={"progress": False, "every": 1}))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    scalars = {"train/loss", "train/top1", "alpha/loss", "alpha/top1", "val/loss", "val/top1", "lr"}
    scalars |= {f"alpha/{what}/{kind}" for what in ("entropy", "skip_share") for kind in ("normal", "reduce")}
    assert scalars <= set(events.Tags()["scalars"])
    assert {"cell/normal", "cell/reduce", "alpha/normal", "alpha/reduce"} <= set(events.Tags()["images"])
    entropy = events.Scalars("alpha/entropy/normal")[-1].value
    assert entropy == pytest.approx(np.log(8), abs=1e-3), "alphas hardly move in one epoch: nearly uniform"


def test_every_alpha_and_every_weight_learns(tmp_path: Path) -> None:
    config = search_config(tmp_path, alphas={"weight_decay": 0.0})
    begun = run_search(config, until=1).net.state_dict()
    begun = {name: value.clone() for name, value in begun.items()}
    ended = run_search(config).net
    for name, parameter in ended.named_parameters():
        moved = parameter.detach() != begun[name]
        assert moved.all() if name.startswith("alpha.") else moved.any(), name


def test_the_seed_decides(tmp_path: Path) -> None:
    def genotype_and_weights(folder: str, seed: int) -> Any:
        found = run_search(search_config(tmp_path / folder, seed=seed, amp="bf16"))
        return found.net.state_dict()

    one, same, other = (genotype_and_weights(f, s) for f, s in (("a", 5), ("b", 5), ("c", 6)))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["alpha.normal"], other["alpha.normal"])


def _pixels(view: Any) -> Any:
    return view.source.fetch(view.index, None)[0].numpy()
