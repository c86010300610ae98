"""`executor=auto` is settled before the first step, written down, and kept by a run that is resumed."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet
from supernet.config import SearchConfig, from_mapping
from supernet.cuda_kernels import host
from supernet.network import Supernet, choice_sum
from supernet.network.cells.cell import MixedCell
from supernet.network.executor.automatic import choose, mostly_separable
from supernet.runtime.ranks import Ranks
from supernet.space import Space, get_space
from supernet.stages.run_search import run_search
from supernet.train import settled
from tests.support.counted import Calls
from tests.support.searches import STEPS, final_state, search_config

SMALL: dict[str, Any] = {"nasbench201": {"channels": 2, "cells_per_stage": 1}}


def executor(searched: Any) -> str:
    name: str = searched.net.body.executor.name
    return name


@pytest.mark.parametrize("space", ["darts", "nasbench201", "nasnet", "s1", "s2", "s3", "s4"])
def test_dense_candidates_are_seen(space: str) -> None:
    with torch.device("meta"):
        net = Supernet(get_space(space), executor="torch", **SMALL.get(space, {"channels": 2, "layers": 3}))
    cells = [module for module in net.body.modules() if isinstance(module, MixedCell)]
    assert {mostly_separable(cell) for cell in cells} == {space != "nasbench201"}
    assert choose(torch.device("cpu"), torch.float32, dense=True)[0] == "torch"


@pytest.mark.parametrize(
    ("space", "amp", "name"), [("nasbench201", "off", "torch"), ("darts", "bf16", "torch"), ("darts", "off", "cpu")]
)
def test_it_is_announced_once_and_is_what_runs(
    tmp_path: Path, space: str, amp: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if name == "cpu" and not host.available():
        pytest.skip("no C++ compiler here")
    config = search_config(tmp_path, space, "darts_first_order", epochs=1, amp=amp)
    with caplog.at_level(logging.INFO):
        searched = run_search(config)
    told = [record.getMessage() for record in caplog.records if "executor=auto takes" in record.getMessage()]
    assert len(told) == 1 and told[0].startswith(f"executor=auto takes '{name}'")
    assert executor(searched) == name
    assert final_state(tmp_path)["program"]["executor"] == name


def test_a_resumed_run_keeps_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = search_config(tmp_path, "darts", "darts_first_order", network={"channels": 2, "layers": 3})
    monkeypatch.setattr(settled, "choose", lambda *_, **__: ("reference", "so it was then"))
    assert executor(run_search(config, until=STEPS)) == "reference"
    monkeypatch.setattr(settled, "choose", lambda *_, **__: ("torch", "so it is now"))
    with caplog.at_level(logging.INFO):
        assert executor(run_search(config)) == "reference"
    assert "goes on by executor=reference, by which it began" in caplog.text


class Sums(nn.Module):
    """Two options, which `auto` sums in one pass where kernels serve, and sums of their size are large enough."""

    def __init__(self, in_chans: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 4, 1)
        self.op = supernet.Choice({"relu": nn.ReLU, "tanh": nn.Tanh})
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.op(self.stem(x)))
        return y


def search_sums(root: Path, until: int | None = None) -> str:
    """The operators of fused sums that a search calls, and what its state says of the executor."""
    values = {
        "batch_size": 8, "epochs": 1, "data": {"limit": 64}, "run": {"root": str(root), "name": "run"},
        "checkpoint": {"every_steps": 1}, "log": {"progress": False, "tensorboard": False},
    }  # fmt: skip
    with Calls() as calls:
        run_search(from_mapping(SearchConfig, values), space=Space(Sums), until=until)
    return "fused" if calls.of["node_mix"] else "stock"


@pytest.mark.parametrize(("began", "then"), [("cpu", "torch"), ("torch", "cpu")])
def test_sums_of_choices_are_settled_and_kept_too(
    began: str, then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not host.available():
        pytest.skip("no C++ compiler here")
    sums = {"cpu": "fused", "torch": "stock"}
    monkeypatch.setattr(choice_sum, "LEAST", 8 * 4 * 64 * 2)
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(settled, "choose", lambda *_, **__: (began, "so it was then"))
    assert search_sums(tmp_path, until=1) == sums[began]
    monkeypatch.setattr(settled, "choose", lambda *_, **__: (then, "so it is now"))
    assert search_sums(tmp_path) == sums[began]
    assert f"goes on by executor={began}, by which it began" in caplog.text
    assert final_state(tmp_path)["program"]["executor"] == began
    told = [message for message in caplog.messages if message.startswith("executor=auto takes")]
    assert told == [f"executor=auto takes '{began}': so it was then", f"executor=auto takes '{then}': so it is now"]


def test_sums_that_a_compiler_is_missing_for_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settled, "choose", lambda *_, **__: ("cuda", "so it was then"))
    net = Supernet(Space(Sums), executor="auto")
    there = settled.SettledExecutor(torch.device("cpu"), torch.float32, Ranks())
    monkeypatch.setattr(settled, "choose", lambda *_, **__: ("torch", "so it is now"))
    there.settle(net)
    there.keep(net, {"executor": "cuda"})
    assert there.name == "torch" and "executor=cuda, which does not serve here (executor=cuda needs" in caplog.text


class Second(Ranks):
    """A second rank, whose main one says `said`, and whose neighbours have `faults`."""

    def __init__(self, said: list[Any], faults: bool) -> None:
        super().__init__()
        self.said, self.faults = said, faults

    def broadcast(self, value: Any) -> Any:
        return self.said.pop(0)

    def any(self, flag: bool) -> bool:
        return self.faults or flag


@pytest.mark.parametrize("faults", [False, True])
def test_ranks_go_by_the_main_one(faults: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What this rank would choose, or finds in its state, has no part; one rank that cannot is enough."""
    net = Supernet(get_space("darts", nodes=2), executor="auto", channels=2, layers=3)
    ranks = Second([("reference", "the main one says so"), "torch"], faults)
    there = settled.SettledExecutor(torch.device("cpu"), torch.float32, ranks)
    there.settle(net)
    assert there.name == executor_of(net) == "reference"
    there.keep(net, {"executor": "cpu"})
    assert there.name == executor_of(net) == ("reference" if faults else "torch")
    assert ("on another rank" in caplog.text) == faults


def executor_of(net: Supernet) -> str:
    assert net.body.executor is not None
    return net.body.executor.name
