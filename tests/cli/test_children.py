"""Runs of a sweep are named by what differs among them; runs of earlier names are found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supernet.cli.children import as_child, child_name
from supernet.config import RunConfig, SearchConfig
from supernet.runs.folder import RunFolder
from supernet.stages import STAGES

pytestmark = pytest.mark.usefixtures("own_folder")
SEARCH = STAGES["search"]


def child(config: Any, overrides: str, words: str) -> str:
    return str(as_child(SEARCH, config, overrides.split(), words.split()).run.name)


def begun(config: Any, name: str) -> Path:
    label = SEARCH.label(config)  # type: ignore[misc]
    config = replace(config, run=replace(config.run, name=name))
    return RunFolder.open(config, "search", label.text, prefix=label.prefix).path


@pytest.mark.parametrize(
    "shared",
    ["", "+cluster=joblib", "epochs=3", "capture=off", "space.allow=[a]", "method=darts_exact log.every=3", "~space"],
)
def test_what_all_runs_share_does_not_name_them(shared: str) -> None:
    config = SearchConfig(seed=1)
    assert child(config, f"seed=1 {shared}", f"-m seed=1,2 {shared}") == "search-seed-1"


def test_what_differs_names_them() -> None:
    words = "-m seed=1,2 weights.lr=0.1,0.2 epochs=3"
    assert child(SearchConfig(), "seed=1 weights.lr=0.1 epochs=3", words) == "search-seed-1-weights.lr-0.1"
    assert child(SearchConfig(), "weights.lr=0.12 epochs=3", "-m epochs=3") == "search-weights.lr-0.12", "by a sweeper"
    assert child(SearchConfig(), "epochs=3 seed=2", "-m epochs=3 seed=2") == "search-epochs-3-seed-2", "one run"
    named = SearchConfig(run=RunConfig(name="mine"))
    assert child(named, "seed=1", "-m seed=1,2") == "mine"


def test_another_value_of_what_they_share_is_another_run() -> None:
    """It has its own folder, found again, and the first stays."""
    short, long = SearchConfig(seed=1, epochs=3), SearchConfig(seed=1, epochs=30)
    assert begun(short, child(short, "seed=1 epochs=3", "-m seed=1,2 epochs=3")).name == "search-seed-1"
    name = child(long, "seed=1 epochs=30", "-m seed=1,2 epochs=30")
    assert name.startswith("search-seed-1-") and len(name) == len("search-seed-1-") + 8
    begun(long, name)
    assert child(long, "seed=1 epochs=30 +cluster=joblib", "-m seed=1,2 epochs=30 +cluster=joblib") == name
    assert child(short, "seed=1 epochs=3", "-m seed=1,2 epochs=3") == "search-seed-1"
    fresh = replace(long, run=RunConfig(fresh=True))
    assert child(fresh, "seed=1 epochs=30", "-m seed=1,2 epochs=30") == "search-seed-1", "which moves the other aside"


@pytest.mark.parametrize("cluster", ["", " +cluster=joblib"])
def test_a_run_of_an_earlier_name_is_found(cluster: str) -> None:
    """It had all words in its name; with and without those that change no number."""
    config = SearchConfig(seed=1, epochs=3)
    overrides = "epochs=3 seed=1"
    name = child_name("search", overrides.split())
    assert name == "search-epochs-3-seed-1"
    begun(config, name)
    assert child(config, overrides + cluster, f"-m epochs=3 seed=1,2{cluster}") == name
