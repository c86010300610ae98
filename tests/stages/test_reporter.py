"""The page of a run at work: written seldom enough, at the end with the cost, and no run fails of it."""

import logging
from pathlib import Path

import pytest

from supernet.config import LogConfig
from supernet.runs.folder import RunFolder
from supernet.stages.report.reporter import Reporter
from tests.report.page.written import searched


def test_pages_of_a_run_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("supernet.stages.report.reporter.time.monotonic", lambda: now)
    run = RunFolder(searched(tmp_path / "run", epochs=2, result=None, cost=None))
    page, cost = run.path / "report.html", run.path / "cost.json"
    reporter = Reporter(run, LogConfig(report=True), None, main=True)
    now += 49
    reporter.epoch()
    assert not page.exists()  # a page of a second after 49 seconds would be more than 2 %
    now += 2
    reporter.epoch()
    assert "stopped" in page.read_text(encoding="utf-8") and not cost.exists()
    page.unlink()
    for off in (LogConfig(report=False), LogConfig(report=True)):
        other = Reporter(run if not off.report else None, off, None, main=True)
        now += 1000
        other.epoch()
        other.end()
    Reporter(run, LogConfig(report=True), None, main=False).end()
    assert not page.exists()
    reporter.end()
    assert page.exists() and cost.exists()
    (run.path / "config.json").write_text("{")
    with caplog.at_level(logging.WARNING, "supernet"):
        reporter.end()
    assert "report.html was not written" in caplog.text and "damaged" in caplog.text
