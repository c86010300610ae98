"""Every preset of a method composes, trains, selects and resumes to the bit; a new one is tested without a new test."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from supernet.config import SearchConfig, from_mapping
from supernet.presets import merged, preset, preset_names
from supernet.stages.run_search import run_search
from tests.support.searches import SPACES, TINY, final_state, same
from tests.support.small_parts import small

PRESETS = preset_names("method")
# Alphas of these are moved by something else than a gradient, or there are none.
NETWORKS: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4, "layers": 3},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
    "nas_bench_macro": {"channels": 4, "features": 8},
}


def config_of(root: Path, name: str, space: str = "darts", **more: Any) -> SearchConfig:
    settings = merged(
        {**TINY, "space": {"name": space, "args": SPACES.get(space, {})}},
        small(preset("method", name)),
        {"network": NETWORKS[space], "epochs": 3, "run": {"root": str(root), "name": "run"}},
        more,
    )
    return from_mapping(SearchConfig, settings)


@pytest.mark.parametrize("name", PRESETS)
def test_it_resumes_to_the_bit_and_selects(tmp_path: Path, name: str) -> None:
    """Stopped in the middle of its second epoch; its genotype is a live point of the space, of that method."""
    config = partial(config_of, name=name)
    whole = run_search(config(tmp_path / "whole"))
    run_search(config(tmp_path / "parts"), until=lambda step: step >= 4)
    again = run_search(config(tmp_path / "parts"))
    assert whole.done and again.done
    assert whole.genotype.hash == again.genotype.hash
    same(final_state(tmp_path / "whole"), final_state(tmp_path / "parts"))
    assert whole.genotype.origin["method"] == name
