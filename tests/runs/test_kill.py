"""Runs that are killed anywhere, or told to stop anywhere, end with the bits of one that was left alone.

benchmarks/survival/survival.py does the killing: a process without threads that has loaded everything and forks a child
for each run. Here it does a part of what it does at night.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supernet.presets import preset_names

METHODS = preset_names("method")
KILLS = max(20, len(METHODS))


def survival(root: Path, folder: Path, *options: str) -> dict[str, Any]:
    """The results of the script, by their name."""
    command = [sys.executable, str(root / "benchmarks" / "survival" / "survival.py"), "--json", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob("survival-*.json"))
    assert len(files) == 1, done.stderr
    result = {r["name"]: r for r in json.loads(files[0].read_text())["results"]}
    assert done.returncode == any(r["bad"] for r in result.values())
    return result


@pytest.fixture(scope="module")
def trials(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Kills and signals by one process, by their kind."""
    options = ["--kills", str(KILLS), "--aimed", "8", "--inside", "3", "--each", "1", "--races", "0"]
    return survival(root, tmp_path_factory.mktemp("survival"), *options)


def test_some_kills(root: Path, tmp_path: Path) -> None:
    """One of them in a save. The long run kills each method, as often as README promises, and signals at ten phases."""
    options = ["--kills", "2", "--aimed", "1", "--inside", "1", "--each", "0", "--races", "0", "--no-signals"]
    options += ["--methods", METHODS[0]]
    (result,) = survival(root, tmp_path, *options).values()
    assert result["bad"] == [] and result["good"] == result["of"] >= 2
    assert result["inside"] >= 1


@pytest.mark.long
@pytest.mark.timeout(300)  # seconds; half a minute where nothing else runs
def test_kills_anywhere(trials: dict[str, dict[str, Any]], promise: Callable[[str, str], None]) -> None:
    result = trials["SIGKILL at random points, resume"]
    assert result["bad"] == [] and result["good"] == result["of"] >= KILLS
    assert set(result["methods"]) == set(METHODS) and min(result["methods"].values()) >= KILLS // len(METHODS)
    assert result["inside"] >= 3
    promise("SIGKILL at random points, resume until done: all bits equal", f"{result['good']}/{result['of']}")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_told_to_stop_anywhere(trials: dict[str, dict[str, Any]], promise: Callable[[str, str], None]) -> None:
    stopped, impatient = (result for name, result in trials.items() if "SIGKILL" not in name)
    assert stopped["bad"] == [] and stopped["good"] == stopped["of"] == 10 and stopped["slowest"] < 5
    assert impatient["bad"] == [] and impatient["slowest"] < 1
    promise("SIGTERM at 10 phases: exit 143, resume: all bits equal", f"{stopped['good']}/{stopped['of']}")
    promise("a second SIGINT ends the run at once", f"{impatient['good']}/{impatient['of']}")


@pytest.mark.long
def test_many_kills(root: Path, tmp_path: Path) -> None:
    for result in survival(root, tmp_path).values():
        assert result["bad"] == []
        assert result.get("inside", 30) >= 30
