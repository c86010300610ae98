"""The loop leaves a device alone: it looks at its numbers where a line of the log is written, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.data.splits import open_data
from supernet.runs.folder import RunFolder
from supernet.runs.log import read_metrics
from supernet.runs.progress import Progress
from supernet.space import get_space
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train import loop as module
from supernet.train.captured import CapturedStep
from supernet.train.loop import Loop
from supernet.train.search import SearchProgram
from tests.support.reading import Reading
from tests.support.searches import TINY, search_config

CPU = torch.device("cpu")
EVERY, UNTIL = 4, 11  # steps between two lines of the log; where the run is stopped, amid an epoch of 15


def test_the_host_looks_at_the_device_at_lines_of_the_log_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the guard waits for no flag, data are resident, and a terminal is redrawn at every step."""
    config = search_config(
        tmp_path, "darts", "darts_first_order", executor="reference", data={"limit": 300, "resident": "on"},
        log={**TINY["log"], "every": EVERY}, guard={"every": EVERY}, checkpoint={"every_steps": 0},
    )  # fmt: skip
    steps, reads = [], []
    run = CapturedStep.__call__

    def step(self: Any, *args: Any) -> Any:
        sums = run(self, *args)
        steps.append(1)
        return sums

    monkeypatch.setattr(CapturedStep, "__call__", step)
    monkeypatch.setattr(module, "_on_gpu", lambda sums: True)
    monkeypatch.setattr(Progress, "update", lambda self, epoch, step, values, images: values())
    program = SearchProgram(
        config, get_space("darts", nodes=1), open_data(config.data, 0), ImageClassification(10), CPU
    )
    program.guard.waits = False
    with RunFolder.open(config, "search") as folder:
        loop = Loop(program, run=folder, checkpoint=config.checkpoint, log_config=config.log)
        with Reading(lambda name: reads.append((len(steps), name))):
            loop.run(UNTIL)
    assert len(steps) == UNTIL
    # Before the first step and behind it, for the line that stands from the start; when it is saved at the end.
    wanted = {0, 1, *range(EVERY, UNTIL, EVERY), UNTIL}
    assert {number for number, _ in reads} <= wanted, sorted({r for r in reads if r[0] not in wanted})
    assert {EVERY, UNTIL} <= {number for number, _ in reads}, "nothing was seen, not even the log"


def test_an_epoch_is_the_sum_of_its_steps(tmp_path: Path) -> None:
    """Though each step overwrites the sums of the one before."""
    run_search(search_config(tmp_path, "darts", "darts_first_order", epochs=1))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    steps, epochs = ([r[key] for r in rows if key in r] for key in ("train/loss", "epoch/train/loss"))
    assert len(set(steps)) == 3
    assert epochs == [pytest.approx(sum(steps) / 3, rel=1e-6)]
