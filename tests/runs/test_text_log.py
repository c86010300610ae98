"""run.log: all that a run says, with times, over every process that goes on with it."""

import dataclasses
import logging
import re
from pathlib import Path

import pytest

from supernet.cli.run_stage import perform
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.runs.text_log import TextLog
from supernet.stages import STAGES
from supernet.stages.run_search import run_search
from supernet.stages.stage import Stage
from tests.support.searches import STEPS, search_config


def test_a_run_keeps_what_it_says_over_a_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "supernet")  # as the command line does
    config = search_config(tmp_path, "darts", "darts_first_order")
    run_search(config, until=STEPS)
    run_search(config)
    path = tmp_path / "run" / "run.log"
    text = path.read_text()
    assert [text.count(f"epoch {epoch}/2 ended  val loss") for epoch in (1, 2)] == [1, 1]
    assert all((line[:2] == "20" and " INFO " in line) or " WARNING " in line for line in text.splitlines())
    assert text.count("INFO data digits: 10 classes") == 2, "the beginning of each part of it"
    assert text.count("executor=auto takes") >= 1
    assert text.count("from uniform to decided") == 1, "the final note"
    assert text.index("data digits") < text.index("executor=auto takes") < text.index("epoch 1/2 ended")
    total = f"{2 * STEPS} steps ahead; an estimate of the time and the memory follows after the first 5"
    assert text.count(total) == 1 and text.index("data digits") < text.index(total) < text.index("epoch 1/2 ended")
    assert len(re.findall(rf" about \d+s left by the {STEPS} steps before", text)) == 1, "where it goes on it is known"
    run_search(config)
    assert path.read_text() == text, "a finished run says nothing more"


def test_what_a_command_prints_at_its_end_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The margins and the next command among it; a run that is found again adds nothing."""
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run")
    stage = dataclasses.replace(
        STAGES["search"],
        check=lambda config: None,
        label=None,
        run=lambda config: run,
        rows=lambda result: {"closest": "normal/0-2: a or b, 0.01 apart"},
        next=lambda result: f"supernet retrain genotype={result.path}",
        score=None,
    )
    perform(stage, None)
    printed = capsys.readouterr().out.splitlines()
    kept = (run.path / "run.log").read_text().splitlines()
    assert [line.split(" ", 3)[3] for line in kept] == printed
    assert printed == ["closest  normal/0-2: a or b, 0.01 apart", f"next     supernet retrain genotype={run.path}"]
    monkeypatch.setattr(Stage, "found", lambda stage, config: run)
    perform(stage, None)
    assert capsys.readouterr().out.splitlines() == printed
    assert (run.path / "run.log").read_text().splitlines() == kept


def test_records_of_the_package_are_kept_until_it_is_closed(tmp_path: Path) -> None:
    log = TextLog(tmp_path / "run.log")
    logging.getLogger("supernet.somewhere").warning("in %d places", 3)
    log.write("a line")
    log.close()
    logging.getLogger("supernet.somewhere").warning("later")
    lines = [line.split(" ", 2)[2] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert lines == ["WARNING in 3 places", "INFO a line"]
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "link.log").symlink_to(tmp_path / "target")
    with pytest.raises((SupernetError, OSError)):
        TextLog(tmp_path / "link.log")
