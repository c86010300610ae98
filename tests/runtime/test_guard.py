"""Non-finite numbers are found in the step that makes them, skipped, counted, reported, and never saved."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.cli.exit_codes import guarded
from supernet.config import GuardConfig, RetrainConfig, from_mapping
from supernet.errors import NumbersError, SupernetError
from supernet.methods import Estimate
from supernet.network import Supernet
from supernet.runtime.guard import Guard, check_finite, measured, non_finite
from supernet.space import get_space, published
from supernet.stages.run_retrain import run_retrain
from supernet.stages.run_search import run_search
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.non_finite import trace
from supernet.train.retrain import RetrainProgram
from supernet.train.search import SearchProgram
from tests.support.searches import STEPS, TINY, final_state, same, search_config

BAD = 4  # the first step with a non-finite number, counted from 0; an epoch has three
NAN, INF = float("nan"), float("inf")
Program = SearchProgram | RetrainProgram


def retrain_config(root: Path, **more: Any) -> RetrainConfig:
    values = {**TINY, "recipe": {"ema": 0.9, "opt": "adamw"}, "network": {"channels": 2, "layers": 2}, **more}
    return from_mapping(RetrainConfig, {**values, "run": {"root": str(root), "name": "run"}})


def run(stage: str, root: Path, until: int | None = None, **more: Any) -> Any:
    if stage == "search":
        return run_search(search_config(root, "darts", more.pop("method", "darts_first_order"), **more), until=until)
    return run_retrain(retrain_config(root, **more), genotype=published("DARTS_V2"), until=until)


@contextmanager
def poisoned(program: Program, place: str, value: float) -> Iterator[None]:
    """Inside, what the program computes at `place` is `value`, as a fault of hardware or data would make it."""
    if place == "input":
        unpack = type(program.task).unpack
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(program.task), "unpack", lambda task, batch: (unpack(task, batch)[0] * value, batch[1]))
            yield
    elif place == "loss":
        loss = type(program.task).loss
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(program.task), "loss", lambda *a, **k: loss(*a, **k) * value)
            yield
    elif place == "alpha gradient":
        estimate = program.bilevel.method.hypergradient.forward
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                program.bilevel.method.hypergradient, "forward", lambda problem: _spoilt(estimate(problem), value)
            )
            yield
    else:
        name = next(name for name, _ in program.net.named_parameters() if "classifier" in name)
        handle = program.net.get_parameter(name).register_hook(lambda gradient: gradient * value)
        yield
        handle.remove()


def _spoilt(estimate: Estimate, value: float) -> Estimate:
    return replace(estimate, direct=[estimate.direct[0] * value, *estimate.direct[1:]])


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Poisons the steps that it is told, by their numbers; gives the list of steps that were taken."""

    originals = {kind: kind.step for kind in (SearchProgram, RetrainProgram)}

    def at(place: str, steps: set[int], value: float = NAN) -> list[int]:
        taken: list[int] = []
        for kind, own in originals.items():

            def step(self: Any, batch: Any, epoch: int, step: int, original: Any = own) -> Any:
                taken.append(step)
                if step not in steps:
                    return original(self, batch, epoch, step)
                with poisoned(self, place, value):
                    return original(self, batch, epoch, step)

            monkeypatch.setattr(kind, "step", step)
        return taken

    return at


def saved(root: Path) -> dict[str, Any]:
    """The state of every checkpoint file."""
    return {str(p): torch.load(p, weights_only=True) for p in root.rglob("*.pt")}


PLACES = ["input", "loss", "weight gradient", "alpha gradient"]
RESUMED = [("search", "alpha gradient"), ("search", "input"), ("retrain", "input")]  # these are stopped, too
OTHERS = [("search", "loss"), ("search", "weight gradient"), ("retrain", "loss"), ("retrain", "weight gradient")]


def test_all_places_in_a_search(
    tmp_path: Path, poison: Callable[..., list[int]], promise: Callable[[str, str], None]
) -> None:
    for place in PLACES:
        stops_with_a_report_and_finite_files(tmp_path / place, poison, "search", place, NAN)
    what = "NaN put into input, loss, weight gradient, alpha gradient: found within 1 step, none in any file"
    promise(what, f"{len(PLACES)}/{len(PLACES)}")


@pytest.mark.parametrize(
    ("stage", "place", "value"),
    [("search", "input", INF), *(("retrain", place, NAN) for place in PLACES[:2]), ("retrain", PLACES[2], INF)],
)
def test_other_places(tmp_path: Path, poison: Callable[..., list[int]], stage: str, place: str, value: float) -> None:
    stops_with_a_report_and_finite_files(tmp_path, poison, stage, place, value)


def stops_with_a_report_and_finite_files(
    root: Path, poison: Callable[..., list[int]], stage: str, place: str, value: float
) -> None:
    taken = poison(place, set(range(BAD, 99)), value)
    with pytest.raises(NumbersError) as caught:
        run(stage, root, guard={"skips": 2}, epochs=3)
    assert taken[-1] == BAD + 1, "found in its own step, and once more"
    files = saved(root)
    assert files
    assert not non_finite(files)
    report = json.loads((root / "run" / "nan_report.json").read_text())
    assert report == caught.value.report
    assert (report["step"], report["seed"], report["skips"], report["stage"]) == (BAD + 1, 0, 2, stage)
    assert report["part"] == ("alphas" if stage == "search" and place != "weight gradient" else "weights")
    config = search_config(root, "darts", "darts_first_order") if stage == "search" else retrain_config(root)
    assert len(report["indices"]) == config.batch_size == len(set(report["indices"]))
    expected = {"loss": None, "weight gradient": "classifier", "alpha gradient": "alpha.normal", "input": "stem"}[place]
    assert report["where"] == ("output" if place == "input" else "loss" if place == "loss" else "gradient")
    assert report["module"] is None if expected is None else expected in report["module"]
    assert report["input"] == (place != "input")
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    assert str(BAD + 1) in text and str(report["indices"][0]) in text and (expected or "loss") in text


def test_a_second_order_method_stops_too(tmp_path: Path, poison: Callable[..., list[int]]) -> None:
    """Its virtual steps write NaN into the weights for a while, and take it out again."""
    poison("input", {1, 2})
    with pytest.raises(NumbersError, match=r"stem.*the last good checkpoint is of step 2"):
        run("search", tmp_path, guard={"skips": 2}, method="darts_second_order")
    assert not non_finite(saved(tmp_path))


@pytest.mark.parametrize(("stage", "place"), [*RESUMED, *(pytest.param(*o, marks=pytest.mark.long) for o in OTHERS)])
def test_one_bad_step_is_skipped_and_the_rest_goes_on(
    tmp_path: Path, poison: Callable[..., list[int]], stage: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped before and after the skip, it ends with the bits of the run that never stopped."""
    poison(place, {1})
    resumed = (stage, place) in RESUMED
    with caplog.at_level(logging.WARNING):
        run(stage, tmp_path / "whole", until=None if resumed else 3)
    assert [r.message for r in caplog.records if "skipped step 1: non-finite" in r.message]
    whole = final_state(tmp_path / "whole")
    assert whole["program"]["guard"]["counts"].tolist()[:3] == [0, 1, 1]
    assert not non_finite(whole)
    if not resumed:
        return
    for stop in (1, 2):
        run(stage, tmp_path / "stopped", until=stop)
    run(stage, tmp_path / "stopped")
    same(final_state(tmp_path / "stopped"), whole)


def test_a_skip_changes_nothing(tmp_path: Path, poison: Callable[..., list[int]]) -> None:
    """Weights, alphas, momenta and running statistics of step 1 are those after step 2, which is skipped."""
    poison("input", {1})
    before = run("search", tmp_path, until=1).net.state_dict()
    first = final_state(tmp_path)["program"]["bilevel"]
    after = run("search", tmp_path, until=2).net.state_dict()
    same(after, before)
    same(final_state(tmp_path)["program"]["bilevel"], first)


def test_without_the_guard_all_is_lost(tmp_path: Path, poison: Callable[..., list[int]]) -> None:
    """What the tests above hold against: one bad step, and every weight in the file is NaN."""
    poison("input", {1})
    with pytest.raises(SupernetError, match="the search has diverged"):
        run("search", tmp_path, guard={"skips": 0}, until=2)
    lost = non_finite(final_state(tmp_path)["program"]["bilevel"]["net"])
    assert len(lost) > 50


def test_an_epoch_of_skips_has_no_mean(tmp_path: Path, poison: Callable[..., list[int]]) -> None:
    poison("input", set(range(STEPS)))
    found = run("search", tmp_path, guard={"skips": STEPS + 1}, until=STEPS)
    assert "epoch/train/loss" not in found.metrics
    assert not measured({"count": torch.tensor(0), "loss": torch.tensor(0.0)})


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite losses do not vouch for the state: a running variance may overflow, and its output is zero."""
    step = SearchProgram.step

    def overflow(self: SearchProgram, batch: Any, epoch: int, number: int) -> Any:
        sums = step(self, batch, epoch, number)
        if number == 1:
            next(b for name, b in self.net.named_buffers() if name.endswith("running_var"))[0] = INF
        return sums

    monkeypatch.setattr(SearchProgram, "step", overflow)
    with pytest.raises(NumbersError, match=r"after step 1 of seed 0 .*running_var is not finite"):
        run("search", tmp_path)
    report = json.loads((tmp_path / "run" / "nan_report.json").read_text())
    assert report["where"] == "state" and report["last_checkpoint"] == 1 and len(report["indices"]) == 10
    assert not non_finite(saved(tmp_path))


def test_the_command_line_ends_with_one_line(
    tmp_path: Path, poison: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    poison("loss", {0, 1, 2})
    assert guarded(lambda: run("search", tmp_path) and 0) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: non-finite loss") and error.count("\n") == 1
    assert str(tmp_path / "run" / "nan_report.json") in error


class Pair:
    """The same search step twice: the host waits for the flag, or the device decides alone."""

    def __init__(self, waits: bool, optimizer: Any, skips: int = 3, every: int = 1) -> None:
        self.net = Supernet(get_space("darts", nodes=2), channels=2, layers=2, num_classes=4, in_chans=1, seed=0)
        self.guard = Guard(GuardConfig(skips=skips, every=every), self.net, torch.device("cpu"), waits=waits)
        self.step = BilevelStep(self.net, ImageClassification(4), guard=self.guard)
        if optimizer is not None:  # None: the search's own, which is fused
            self.step.weight_optimizer = optimizer(self.net.weights(), lr=0.05)

    def run(self, number: int, scale: float) -> bool:
        generator = torch.Generator().manual_seed(number)
        batch = torch.randn(4, 1, 8, 8, generator=generator) * scale, torch.arange(4)
        self.sums = self.step(batch, batch, 0)
        return self.guard.end(number)


def momentum(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=1e-2)


@pytest.mark.parametrize(
    ("optimizer", "bad"),
    [
        (None, {0, 4}), pytest.param(None, {1, 2, 3}, marks=pytest.mark.long),
        pytest.param(momentum, {0, 4}, marks=pytest.mark.long), (momentum, {1, 2, 3}), (torch.optim.AdamW, {0, 1, 4}),
    ],
)  # fmt: skip
def test_a_device_that_decides_alone_ends_with_the_same_bits(optimizer: Any, bad: set[int]) -> None:
    """Also where the first step is bad, before the optimiser has momenta, and after the run has tripped."""
    one, other = Pair(True, optimizer), Pair(False, optimizer)
    for number in range(6):
        scale = NAN if number in bad else 1.0
        assert one.run(number, scale) == other.run(number, scale)
        same({k: dict(v) for k, v in one.sums.items()}, {k: dict(v) for k, v in other.sums.items()})
        same(one.step.state_dict()["net"], other.step.state_dict()["net"])
    assert not non_finite(other.step.state_dict())
    same(one.guard.state_dict(), other.guard.state_dict())
    for name in ("weight_optimizer", "alpha_optimizer"):
        state, masked = (getattr(pair.step, name).state_dict()["state"] for pair in (one, other))
        same(state, {key: value for key, value in masked.items() if key in state})
        assert all(not t.any() for key in masked.keys() - state.keys() for t in masked[key].values())


@pytest.mark.parametrize("optimizer", [momentum, None])
def test_a_device_that_runs_ahead_changes_nothing_more(optimizer: Any) -> None:
    """The host looks every four steps; the good step after the third skip must not count."""
    pair = Pair(False, optimizer, every=4)
    found = [pair.run(number, scale) for number, scale in ((0, 1.0), (1, NAN), (2, NAN), (3, 1.0))]
    assert not any(found), "one good step ends the row"
    before = {name: value.clone() for name, value in pair.net.state_dict().items()}
    assert [pair.run(n, s) for n, s in ((4, NAN), (5, NAN), (6, NAN), (7, 1.0))] == [False, False, False, True]
    same(dict(pair.net.state_dict()), before)
    assert pair.guard.report() == {
        "step": 6, "part": "alphas", "found": "loss of the weights, gradient of the weights, loss of the alphas, "
        "gradient of the alphas", "skips": 3, "skips_in_all": 5,
    }  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("skips", -1), ("every", 0), ("skips", 1.5), ("skip", 1)])
def test_settings_are_checked(key: str, value: float) -> None:
    with pytest.raises(SupernetError, match=rf"guard\.{key}"):
        from_mapping(RetrainConfig, {"guard": {key: value}})


def test_large_and_finite_is_finite() -> None:
    check_finite({"a": [torch.full((3,), 3e38)], "b": torch.tensor(1), "c": torch.empty(0), "d": "nan"})
    with pytest.raises(NumbersError, match=r"^a\[1\]\.x and 1 more is not finite"):
        check_finite({"a": [torch.ones(2), {"x": torch.tensor([1, NAN])}], "b": torch.tensor(-INF)})


def test_buffers_that_are_infinite_by_design_are_no_sign_of_trouble() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("mask", torch.full((2, 2), -INF))
    guard = Guard(GuardConfig(), net, torch.device("cpu"))
    guard.check({"net": net.state_dict()})
    net.weight.data[0, 0] = NAN
    with pytest.raises(NumbersError, match=r"^net\.weight is"):
        guard.check({"net": net.state_dict()})


class Overflow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 100).exp() - (x * 100).exp()


def test_the_first_module_is_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), Overflow()), nn.Linear(2, 2))
    statistics, generator = net[1][0].running_mean.clone(), torch.get_rng_state()

    def gradients() -> tuple[Tensor, dict[str, Tensor]]:
        loss = net(torch.randn(4, 2) * 9).sum()
        loss.backward()
        return loss, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    found = trace(net, gradients)
    assert (found["where"], found["module"], found["input"]) == ("output", "1.1", True)
    assert torch.equal(net[1][0].running_mean, statistics) and torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in net.modules())
    net[1][1] = nn.Identity()
    net.zero_grad()
    assert trace(net, gradients)["where"] is None
    net[0].weight.register_hook(lambda g: g * NAN)
    net[2].weight.register_hook(lambda g: g * NAN)
    found = trace(net, gradients)
    assert (found["where"], found["module"]) == ("gradient", "2")
