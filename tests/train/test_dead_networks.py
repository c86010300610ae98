"""Users' networks whose output does not depend on their input are named, and retrained with consent only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import supernet
from supernet.config import SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.network import build_from
from supernet.network.unreached import unreached
from supernet.space import Space
from supernet.stages.run_search import run_search

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
QUIET: dict[str, Any] = {"epochs": 1, "batch_size": 8, "log": {"progress": False, "tensorboard": False}}
WHY = "the network's output is the same for every input"


class Nothing(nn.Module):
    """An option that passes nothing on."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


class Net(nn.Module):
    """One choice of two; its head begins at zero, as many do, so that at first no network depends on its input."""

    def __init__(self, in_chans: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 4, 3, padding=1)
        self.op = supernet.Choice({"nothing": Nothing, "relu": nn.ReLU})
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
        nn.init.zeros_(self.head[2].weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.op(self.stem(x)))
        return y


SPACE = Space(Net)
DEAD, ALIVE = (SPACE.genotype({"op": name}) for name in ("nothing", "relu"))


def search(root: Path, **more: Any) -> Any:
    values = {**QUIET, "data": {"limit": 32}, "run": {"root": str(root), "name": "run"}, **more}
    return run_search(from_mapping(SearchConfig, values), space=SPACE)


def test_a_search_names_it_and_takes_a_live_one_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("supernet.train.phases.Phases.genotype", lambda phases: DEAD)
    assert search(tmp_path / "name").genotype == DEAD
    assert f"genotype {DEAD.hash}: {WHY}; dead_cells=neighbour takes a live one near it" in caplog.text
    assert caplog.text.count(WHY) == 2, "once when it is projected, once at the end"
    assert search(tmp_path / "near", dead_cells="neighbour").genotype == ALIVE
    assert f"{WHY}; {ALIVE.hash} is taken in its place" in caplog.text


def test_a_live_one_is_not_named() -> None:
    """Though its head begins at zero."""
    for genotype in (DEAD, ALIVE):
        assert unreached(build_from(SPACE, genotype, seed=0), X) is (genotype == DEAD)


def test_retraining_it_needs_consent(tmp_path: Path) -> None:
    data = X.repeat(4, 1, 1, 1).numpy(), np.arange(16) % 10
    run = tmp_path / "run"
    with pytest.raises(SupernetError, match=f"genotype {DEAD.hash}: {WHY}, so that it can learn nothing; allow_dead="):
        supernet.retrain(DEAD, data, space=Net, run=run, **QUIET)
    assert not run.exists()
    assert supernet.retrain(DEAD, data, space=Net, allow_dead=True, **QUIET).done
    assert supernet.retrain(ALIVE, data, space=Net, run=run, **QUIET).done


class Constant(nn.Module):
    def __init__(self, forget: Any) -> None:
        super().__init__()
        self.forget, self.layer = forget, nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(self.forget(x.flatten(1)))
        return y


@pytest.mark.parametrize(
    ("forget", "dead"),
    [
        (lambda x: x * 0, True),
        (torch.zeros_like, True),
        (lambda x: torch.zeros_like(x) + torch.randn(x.shape), True),  # noise, which is no input
        (lambda x: x * 1e-20, False),  # lost beside the bias, though it could be learned from
        (lambda x: x.round(), False),  # without a gradient
        (lambda x: x.mul_(2), False),
    ],
    ids=["times-zero", "zeros", "noise", "tiny", "rounded", "in-place"],
)
def test_both_signs_must_agree(forget: Any, dead: bool) -> None:
    net = Constant(forget)
    before = [p.clone() for p in net.parameters()]
    state = torch.get_rng_state()
    assert unreached(net, X) is dead
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True)) and net.training
    assert torch.equal(torch.get_rng_state(), state), "a run that is resumed draws what it would have drawn"


def test_whole_numbers_are_told_by_their_outputs() -> None:
    """Characters have no gradient."""
    x = torch.arange(12).reshape(4, 3)
    embed = nn.Sequential(nn.Embedding(12, 4), nn.Flatten(), nn.Linear(12, 2))
    assert not unreached(embed, x)
    assert unreached(nn.Sequential(embed, Nothing()), x)
    assert not unreached(nn.Sequential(embed, Nothing()), torch.ones(4, 3).long()), "equal samples show nothing"
