"""A search that stops anywhere and goes on ends with the same bits as one that never stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import Choice, Conv2d, Linear, Norm, Repeat
from supernet.config import RetrainConfig, SearchConfig, from_mapping
from supernet.methods import HYPERGRADIENTS
from supernet.presets import preset, preset_names
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.log import read_metrics
from supernet.space import Space, published
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search
from tests.support.covering import sampled
from tests.support.searches import STEPS, TINY, final_state, same, search_config

PRESETS = ("darts_exact", "darts_first_order", "darts_second_order")  # all others: tests/methods/test_presets.py
METHODS = [("darts", name) for name in PRESETS] + [("nasbench201", "darts_first_order")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(final state, rows of the log, genotype) of a run that is never stopped, made once for each method."""
    made: dict[tuple[str, str], Any] = {}

    def get(space: str, method: str) -> Any:
        if (space, method) not in made:
            root = tmp_path_factory.mktemp("whole")
            found = run_search(search_config(root, space, method))
            assert len(read_metrics(root / "run" / "metrics.jsonl")) == 2 * (STEPS + 1), "a row a step and an epoch"
            made[space, method] = final_state(root), read_metrics(root / "run" / "metrics.jsonl", time=False), found
        return made[space, method]

    return get


PLACES = {"first batch": 1, "last batch": 2, "epoch end": STEPS, "next epoch": STEPS + 1}
# Every method at one place, another for each; first-order DARTS at all four.
STOPS = [
    (*METHODS[i], place)
    for i in range(len(METHODS))
    for place in (PLACES if i == 1 else [list(PLACES)[(i + 1) % len(PLACES)]])
]


@pytest.mark.parametrize(("space", "method", "place"), STOPS)
def test_a_stopped_search_ends_with_the_same_bits(
    tmp_path: Path, uninterrupted: Any, space: str, method: str, place: str
) -> None:
    config = search_config(tmp_path, space, method)
    half = run_search(config, until=PLACES[place])
    assert not half.done
    torch.rand(7)  # what another program draws in between must not matter
    rest = run_search(config)
    state, rows, whole = uninterrupted(space, method)
    same(final_state(tmp_path), state)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl", time=False) == rows
    assert rest.genotype == whole.genotype


class Deep(nn.Module):
    """A network of one's own: undecided depth and width, batch norms and dropout."""

    def __init__(self, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.width = Choice([2, 4])
        self.stem, self.drop = Conv2d(in_chans, self.width, 3), nn.Dropout(0.3)
        self.blocks = Repeat(self.block, Choice(range(1, 4)))
        self.head = Linear(self.width, num_classes)

    def block(self) -> nn.Module:
        return nn.Sequential(Norm(self.width), nn.ReLU(), nn.Dropout(0.3), Conv2d(self.width, self.width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.blocks(self.stem(x))).mean((2, 3)))


def test_a_stopped_search_of_ones_own_network_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Dropout draws from the state of torch's numbers, which is kept."""

    def config(root: Path) -> SearchConfig:
        run = {"root": str(root), "name": "run"}
        return from_mapping(SearchConfig, TINY | {"run": run})

    whole = run_search(config(tmp_path / "whole"), space=Space(Deep))
    for stop in (1, STEPS, STEPS + 1):
        root = tmp_path / f"until {stop}"
        assert not run_search(config(root), space=Space(Deep), until=stop).done
        torch.rand(7)
        rest = run_search(config(root), space=Space(Deep))
        same(final_state(root), final_state(tmp_path / "whole"))
        assert rest.genotype == whole.genotype


def test_every_hypergradient_has_a_preset() -> None:
    """Otherwise the tests over the presets would say nothing of it; one is another way to what a preset does."""
    ours = {name for name in HYPERGRADIENTS if HYPERGRADIENTS[name].__module__.startswith("supernet.")}
    methods = [from_mapping(SearchConfig, preset("method", name)).method for name in preset_names("method")]
    named = [method.hypergradient for method in methods]
    assert ours - {part if isinstance(part, str) else part["name"] for part in named} == {"conjugate_gradient"}


def test_resume_is_the_state_and_not_a_second_start(tmp_path: Path) -> None:
    """The comparison above can fail: a run that loses one step's momentum ends elsewhere."""
    config = search_config(tmp_path, "darts", "darts_first_order")
    run_search(config, until=2)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    step, state = checkpoints.latest()  # type: ignore[misc]
    for entry in state["program"]["bilevel"]["weight_optimizer"]["state"].values():
        entry["momentum_buffer"].zero_()
    checkpoints.save(step, state)
    run_search(config)
    whole = tmp_path / "whole"
    run_search(search_config(whole, "darts", "darts_first_order"))
    with pytest.raises(AssertionError, match=r"\.net\."):
        same(final_state(tmp_path)["program"], final_state(whole)["program"])


def test_a_finished_run_only_gives_its_result(tmp_path: Path) -> None:
    config = search_config(tmp_path, "darts", "darts_first_order")
    first = run_search(config)
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "run" / "checkpoints").rglob("*"))
    second = run_search(config)
    assert second.genotype.to_json() == first.genotype.to_json()
    assert dict(second.metrics) == dict(first.metrics)
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "run" / "checkpoints").rglob("*"))


def test_a_finished_search_goes_on_for_another_epoch(tmp_path: Path) -> None:
    run_search(search_config(tmp_path, "darts", "darts_first_order", epochs=1))
    run = {"root": str(tmp_path), "name": "run", "allow_changes": ["epochs"]}
    assert run_search(search_config(tmp_path, "darts", "darts_first_order", run=run)).done
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 3, 4, 5, 6, 6]


def test_warm_up_leaves_the_alphas_alone(tmp_path: Path) -> None:
    config = search_config(tmp_path, "darts", "darts_first_order", method={"warmup_epochs": 1})
    begun = run_search(config, until=1).net.state_dict()["alpha.normal"].clone()
    assert torch.equal(run_search(config, until=STEPS).net.state_dict()["alpha.normal"], begun)
    assert not torch.equal(run_search(config, until=STEPS + 1).net.state_dict()["alpha.normal"], begun)


@pytest.mark.parametrize("stop", sampled([4, 1, 5], 3))
def test_a_stopped_retraining_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    recipe = {"ema": 0.9, "mixup": 0.2, "drop_path": 0.3}
    network = {"channels": 2, "layers": 2, "drop_rate": 0.2}

    def config(root: Path) -> RetrainConfig:
        run = {"root": str(root), "name": "run"}
        return from_mapping(RetrainConfig, {**TINY, "recipe": recipe, "network": network, "run": run})

    genotype = published("DARTS_V2")
    whole = run_retrain(config(tmp_path / "whole"), genotype=genotype)
    assert not run_retrain(config(tmp_path), genotype=genotype, until=stop).done
    torch.rand(7)
    rest = run_retrain(config(tmp_path), genotype=genotype)
    same(final_state(tmp_path), final_state(tmp_path / "whole"))
    same(rest.model.state_dict(), whole.model.state_dict())
    assert dict(rest.metrics) == dict(whole.metrics)
