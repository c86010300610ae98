"""Whole searches in every space of cells for images, at the smallest size: the weights, the alphas and the drawings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supernet.config import RetrainConfig, SearchConfig, from_mapping
from supernet.network import build
from supernet.space import CellSpace, Genotype, get_space
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search

LONG = pytest.mark.long
TINY: dict[str, Any] = {"epochs": 2, "batch_size": 10, "data": {"limit": 40}}
SIZES: dict[str, dict[str, int]] = {"nasbench201": {"cells_per_stage": 1}}


def config(root: Path, space: str, **more: Any) -> SearchConfig:
    network = {"channels": 2, **SIZES.get(space, {"layers": 3})}
    run = {"root": str(root), "name": "run"}
    log = {"progress": False, "every": 1}
    return from_mapping(
        SearchConfig, {**TINY, "space": {"name": space}, "network": network, "run": run, "log": log, **more}
    )


@pytest.mark.parametrize(
    "name", ["s1", *(pytest.param(name, marks=LONG) for name in ("darts", "nasbench201", "nasnet", "s2", "s3", "s4"))]
)
def test_a_search_of_two_epochs(name: str, tmp_path: Path) -> None:
    """Finite losses, alphas that moved where they exist, the genotype of the strengths, a drawing a kind."""
    begun = run_search(config(tmp_path, name), until=1).net
    before = {key: alpha.detach().clone() for key, alpha in begun.alpha.items()}
    found = run_search(config(tmp_path, name))
    space = get_space(name)
    assert isinstance(space, CellSpace)
    space.validate(found.genotype)
    assert found.genotype.decisions == found.net.genotype().decisions
    assert all(torch.isfinite(torch.tensor(v)) for v in found.metrics.values() if isinstance(v, float))
    for table in space.tables:
        moved = found.net.alpha[table.name].detach() != before[table.name]
        assert moved[torch.tensor(table.mask)].all()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {f"{what}/{kind}" for what in ("cell", "alpha") for kind in space.kinds} <= set(events.Tags()["images"])
    again = Genotype.load(tmp_path / "run" / "genotype.json")
    assert build(again, **{"channels": 2, **SIZES.get(name, {"layers": 3})})(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.long
def test_a_search_with_noise_resumes_to_the_bit(tmp_path: Path) -> None:
    """The numbers of the noise are part of the run's state."""
    whole = run_search(config(tmp_path / "whole", "s4")).net.state_dict()
    checkpoint = {"every_steps": 1}
    run_search(config(tmp_path / "parts", "s4", checkpoint=checkpoint), until=1)
    torch.rand(7)
    parts = run_search(config(tmp_path / "parts", "s4", checkpoint=checkpoint)).net.state_dict()
    assert all(torch.equal(parts[key], value) for key, value in whole.items())


@pytest.mark.long
@pytest.mark.parametrize("name", ["s4", "nasnet"])
def test_what_was_found_is_retrained(name: str, tmp_path: Path) -> None:
    found = run_search(config(tmp_path, name)).genotype
    values = {**TINY, "network": {"channels": 2, "layers": 3}, "run": {"root": str(tmp_path), "name": "retrained"}}
    trained = run_retrain(from_mapping(RetrainConfig, values | {"log": {"progress": False}}), genotype=found)
    assert 0 <= trained.metrics["test/top1"] <= 1
