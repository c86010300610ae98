"""The table of latencies with a clock that is told what to say: what is timed, kept, summed and predicted."""

import json
import logging
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import Choice
from supernet.cost import Conditions, calibrated, expected, latency_table, measured
from supernet.cost import clock as clock_module
from supernet.cost.cache import Cache, default_folder
from supernet.cost.clock import fastest, prepared
from supernet.errors import SupernetError
from supernet.network import build
from supernet.space import Genotype, Space, get_space
from supernet.space.layers import Activation, Conv2d, Linear

SMALL: dict[str, Any] = {"image": (3, 8, 8), "where": Conditions(batch=2)}
CELLS: dict[str, Any] = SMALL | {"channels": 2, "cells_per_stage": 1}


class Told:
    """A timer by whose clock a call takes a second for each leaf module in it; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[nn.Module] = []

    def __call__(self, calls: Sequence[Callable[[], Any]]) -> list[float]:
        found = []
        for call in calls:
            call()
            module = next(cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, nn.Module))  # type: ignore[attr-defined]
            assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1 and not module.training
            self.asked.append(module)
            found.append(float(sum(not list(m.children()) for m in module.modules())))
        return found


class Wide(nn.Module):
    """An activation whose input is as wide as a layer in front of it decides."""

    def __init__(self) -> None:
        super().__init__()
        width = Choice([2, 4])
        self.conv, self.act, self.head = Conv2d(3, width, Choice([1, 3])), nn.Hardswish(inplace=True), Linear(width, 2)
        self.op = Choice({"tanh": Activation("tanh"), "none": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(self.act(self.conv(x))).mean((2, 3)))


@pytest.fixture
def cells(tmp_path: Path) -> Any:
    """(space, table of it, timer)"""
    space, timer = get_space("nasbench201"), Told()
    return space, latency_table(space, folder=tmp_path, timer=timer, **CELLS), timer


def leaves(module: nn.Module) -> int:
    return sum(not list(m.children()) for m in module.modules())


def test_a_prediction_is_the_sum_of_the_parts(cells: Any) -> None:
    """In seconds of the told clock: one for each leaf of the network's own, one for each addition."""
    space, table, _ = cells
    rng = random.Random(3)
    for genotype in [space.sample(rng) for _ in range(4)]:
        net = build(genotype, channels=2, cells_per_stage=1).eval()
        idle = ("drops", "preprocess")  # drop-path does nothing here, and these cells have no entrance
        own = [m for name, m in net.named_modules() if not list(m.children()) and not any(i in name for i in idle)]
        terms = [[term for term in node if term.op != "none"] for node in space.graphs(genotype)["cell"].nodes]
        additions = 3 * sum(max(0, len(node) - 1) for node in terms)
        running = sum(type(m).__name__ != "Zero" for m in own)
        assert table.of(genotype) == pytest.approx(running + additions)


def test_each_different_part_is_timed_once(cells: Any) -> None:
    _, _, timer = cells
    kinds = [(type(m).__name__, str(m), tuple(tuple(p.shape) for p in m.parameters())) for m in timer.asked]
    # 4 operations and an addition at each of 3 resolutions, 2 reductions, stem, last norm, head
    assert len(kinds) == 3 * 5 + 2 + 3
    assert sum(name == "Add" for name, *_ in kinds) == 3


def test_what_is_known_is_not_timed_again(cells: Any, tmp_path: Path) -> None:
    space, table, timer = cells
    again = Told()
    same = latency_table(space, folder=tmp_path, timer=again, **CELLS)
    assert not again.asked and same == table
    deeper = latency_table(space, folder=tmp_path, timer=again, **(CELLS | {"cells_per_stage": 3}))
    assert not again.asked  # a deeper network has the same parts
    genotype = space.genotype({f"cell/{edge.name}": "nor_conv_3x3" for edge in space.edges})
    fixed = table.fixed  # stem, reductions and head, less an addition for each node
    assert deeper.of(genotype) == pytest.approx(fixed - 2 * 9 + 3 * (table.of(genotype) - fixed))
    conditions: list[dict[str, Any]] = [{"batch": 3}, {"dtype": "float64"}, {"channels_last": True}]
    for changed in ({"channels": 3}, *({"where": Conditions(**({"batch": 2} | more))} for more in conditions)):
        other = Told()
        latency_table(space, folder=tmp_path, timer=other, **(CELLS | changed))
        assert len(other.asked) == len(timer.asked)


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[1]", '{"hardware": {}, "seconds": {}}', "\0" * 50, '{"seconds": {"a": NaN}}', '{"seconds": 3}'],
)
def test_a_damaged_cache_is_measured_again(
    cells: Any, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    space, table, timer = cells
    (path,) = tmp_path.iterdir()
    path.write_text(damage, encoding="utf-8")
    again = Told()
    with caplog.at_level(logging.WARNING):
        assert latency_table(space, folder=tmp_path, timer=again, **CELLS) == table
    assert len(again.asked) == len(timer.asked)
    assert "measured again" in caplog.text and path.name in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert json.loads(path.read_text(encoding="utf-8"))["hardware"]["threads"] == 1


def test_values_that_are_no_times_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path, Conditions())
    cache.add({"a": 1.0})
    cache.add({"b": 2.0})
    assert cache.read() == {"a": 1.0, "b": 2.0}
    for wrong in (0.0, -1.0, float("inf"), "1", None):
        cache.path.write_text(json.dumps({"hardware": cache.hardware, "seconds": {"a": wrong}}), encoding="utf-8")
        with caplog.at_level(logging.WARNING):
            assert cache.read() == {}
    assert caplog.text.count("measured again") == 5


def test_where_the_cache_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own" / "latency"
    one, two = (Cache(None, Conditions(threads=n)) for n in (1, 2))
    assert one.path != two.path and one.path.parent == default_folder()
    monkeypatch.delenv("SUPERNET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "supernet" / "latency"
    (tmp_path / "file").write_text("", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        Cache(tmp_path / "file", Conditions()).add({"a": 1.0})
    assert "were not kept" in caplog.text


def test_of_a_network_of_ones_own(tmp_path: Path) -> None:
    """Parts without weights are timed at every width that they are given."""
    space, timer = Space(Wide), Told()
    table = latency_table(space, folder=tmp_path, timer=timer, **SMALL)
    names = [type(m).__name__ for m in timer.asked]
    assert {name: names.count(name) for name in set(names)} == {
        "Conv2d": 4, "Hardswish": 2, "Tanh": 2, "Identity": 2, "Linear": 2,
    }  # fmt: skip
    assert {table.of(genotype) for genotype in space.points()} == {4.0}


def test_expected_latency(cells: Any) -> None:
    """As for the other costs: exact at a genotype, the mean of genotypes elsewhere, differentiable."""
    space, table, _ = cells
    one, other = (space.genotype({f"cell/{e.name}": op for e in space.edges}) for op in ("skip_connect", "none"))

    def p(share: float) -> dict[str, Tensor]:
        found = torch.zeros(6, 5, dtype=torch.float64)
        found[:, space.operations.index("skip_connect")] = share
        found[:, space.operations.index("none")] = 1 - share
        return {"cell": found}

    for share, genotype in ((1.0, one), (0.0, other)):
        assert float(expected(space, p(share), table)) == pytest.approx(table.of(genotype))
    weights = {"cell": p(0.5)["cell"].requires_grad_()}
    expected(space, weights, table).backward()
    gradient = weights["cell"].grad
    assert gradient is not None
    conv, skip = (space.operations.index(name) for name in ("nor_conv_3x3", "skip_connect"))
    assert bool((gradient[:, conv] > gradient[:, skip]).all())


def test_calibration(cells: Any) -> None:
    space, table, _ = cells
    rng = random.Random(0)
    genotypes: list[Genotype] = [space.sample(rng) for _ in range(5)]
    seconds = [1.3 * table.of(genotype) for genotype in genotypes]
    seconds[2] *= 9  # one that was disturbed moves nothing
    fitted = calibrated(table, genotypes, seconds)
    other = space.sample(rng)
    assert fitted.of(other) == pytest.approx(1.3 * table.of(other))
    with pytest.raises(SupernetError, match="5 genotypes and 2 times"):
        calibrated(table, genotypes, seconds[:2])


def test_measured_networks() -> None:
    space, timer = get_space("nasbench201"), Told()
    genotypes = [space.sample(random.Random(i)) for i in range(3)]
    found = measured(space, genotypes, timer=timer, **CELLS)
    assert found == [float(leaves(net)) for net in timer.asked] and len(found) == 3


def test_the_fastest_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take turns, and a disturbed round changes nothing."""
    order: list[str] = []
    now = 0.0

    def run(name: str, seconds: float) -> None:
        nonlocal now
        order.append(name)
        now += seconds * (5 if len(order) % 3 == 0 else 1)

    for source in ("perf_counter", "thread_time"):
        monkeypatch.setattr(clock_module.time, source, lambda: now)
    found = fastest([partial(run, "a", 1.0), partial(run, "b", 2.0)], rounds=4)
    assert found == pytest.approx([1.0, 2.0])
    assert order[-8:] == ["a", "b"] * 4


def test_a_timed_call() -> None:
    """Inputs stay as they are, in the type and layout that were asked for; torch's settings come back."""
    before, seen = torch.get_num_threads(), []
    where = Conditions(batch=2, dtype="bfloat16", channels_last=True, threads=2)

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.SiLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((x.clone(), x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
            return self.act(x)

    state = torch.get_rng_state()
    with where.active():
        assert torch.get_num_threads() == 2
        call = prepared(Spy, [(2, 3, 4, 4)], where)
        call()
        call()
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)
    assert seen[0][1:] == (torch.bfloat16, True)
    assert torch.equal(seen[0][0], seen[1][0])


def test_mistakes() -> None:
    with pytest.raises(SupernetError, match="did you mean 'float32'"):
        Conditions(dtype="float23")
    for wrong in (0, "a", 1.5, True):
        with pytest.raises(SupernetError, match=re.escape(f"batch={wrong!r} and threads=1 must be whole")):
            Conditions(batch=wrong)  # type: ignore[arg-type]
    with pytest.raises(SupernetError, match="device='gpu9' is no device"):
        Conditions(device="gpu9")
    space = get_space("nas_bench_macro")
    with pytest.raises(SupernetError, match=r"fails on an input of shape \(8, 3, 8\): "):
        measured(space, [space.sample(random.Random(0))], image=(3, 8))
    with pytest.raises(SupernetError, match="'darts_rnn'.* are not known"):
        latency_table(get_space("darts_rnn"))
