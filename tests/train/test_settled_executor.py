"""`executor=auto` is settled before the first step, written down, and kept by a run that is resumed."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.cuda_kernels import host
from supernet.network import Supernet
from supernet.network.cells.cell import MixedCell
from supernet.network.executor.automatic import choose, mostly_separable
from supernet.space import get_space
from supernet.stages.run_search import run_search
from supernet.train import phases
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
    monkeypatch.setattr(phases, "choose", lambda *_, **__: ("reference", "so it was then"))
    assert executor(run_search(config, until=STEPS)) == "reference"
    monkeypatch.setattr(phases, "choose", lambda *_, **__: ("torch", "so it is now"))
    with caplog.at_level(logging.INFO):
        assert executor(run_search(config)) == "reference"
    assert "goes on by executor=reference, by which it began" in caplog.text
