"""The captured step: nothing in it needs the host, all of its state keeps its place, and a replay is the step."""

import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.config import GuardConfig, MethodConfig, WeightConfig
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.runtime.cuda_graphs import CudaGraphs
from supernet.runtime.guard import Guard
from supernet.runtime.host_reads import HostReads
from supernet.space import get_space
from supernet.tasks.classification import ImageClassification
from supernet.train.bilevel import BilevelStep
from supernet.train.captured import CapturedStep
from tests.support.replaying import NotedGraphs
from tests.support.searches import same

NAN = float("nan")
METHODS = ("first_order", "finite_difference")
Batch = tuple[Tensor, Tensor]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make(method: str = "first_order", *, graphs: Any = None, device: str = "cpu", **settings: Any) -> CapturedStep:
    net = Supernet(get_space("darts", nodes=1), executor="reference", seed=0, channels=2, layers=1, in_chans=1)
    guard = Guard(GuardConfig(skips=3), net.to(device), torch.device(device), waits=False)
    settings |= {"method": MethodConfig(hypergradient=method), "weights": WeightConfig(clip=1.0)}
    bilevel = BilevelStep(net, ImageClassification(10), guard=guard, epochs=4, **settings)
    return CapturedStep(bilevel, graphs=graphs)


def batches(number: int, rows: int = 4, scale: float = 1.0, device: str = "cpu") -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(number)
    images = (torch.randn(2, rows, 1, 8, 8, generator=generator) * scale).to(device)
    targets = torch.randint(0, 10, (2, rows), generator=generator).to(device)
    return (images[0], targets[0]), (images[1], targets[1])


def state(step: CapturedStep) -> dict[str, Tensor]:
    """Every tensor that a step changes, and the learning rate, by name."""
    bilevel = step.step
    found = {f"net.{name}": t for name, t in bilevel.net.state_dict().items()}
    for name, optimizer in (("sgd", bilevel.weight_optimizer), ("adam", bilevel.alpha_optimizer)):
        found |= {f"{name}.lr": optimizer.param_groups[0]["lr"]}
        for i, one in optimizer.state_dict()["state"].items():
            found |= {f"{name}.{i}.{key}": value for key, value in one.items()}
    found |= {"counts": step.guard.counts, "cause": step.guard._cause, "number": step.guard._step}
    found |= {f"{phase}.{name}": t for phase, sums in step._sums.items() for name, t in sums.items()}
    return {name: t for name, t in found.items() if isinstance(t, Tensor)}


@pytest.mark.parametrize("method", METHODS)
def test_no_step_makes_the_host_wait(method: str) -> None:
    """Nor does it take numbers from the host, a skipped one included."""
    step = make(method)
    step(*batches(0), 0, 0)
    for number, scale in ((1, 1.0), (2, NAN), (3, 1.0)):
        train, val = batches(number, scale=scale)
        with HostReads(torch.device("cpu"), forbid=True):
            step(train, val, 1, number)
            assert not step.guard.look(number), "looks at every tenth only"
    assert step.guard.report()["skips_in_all"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_all_state_keeps_its_place_in_memory(method: str) -> None:
    step = make(method)
    step(*batches(0), 0, 0)
    before = {name: (t.data_ptr(), t.stride()) for name, t in state(step).items()}
    wanted = {"sgd.lr", "sgd.0.momentum_buffer", "adam.0.step", "adam.0.exp_avg", "train.loss", "alpha.count"}
    assert wanted <= set(before)
    saved = step.step.state_dict(), step.guard.state_dict()
    for number, scale in ((1, 1.0), (2, NAN), (3, 1.0)):
        step(*batches(number, scale=scale), number, number)
    step.step.load_state_dict(saved[0])
    step.guard.load_state_dict(saved[1])
    step(*batches(4), 0, 4)
    assert {name: (t.data_ptr(), t.stride()) for name, t in state(step).items()} == before


@pytest.mark.parametrize("method", METHODS)
def test_replays_have_the_bits_of_steps(method: str) -> None:
    """New batches, another learning rate each epoch, skips, and steps without a batch for the alphas."""
    graphs = NotedGraphs()
    plain, captured = make(method), make(method, graphs=graphs)
    for number in range(14):
        train, val = batches(number, scale=NAN if number in (2, 6, 7) else 1.0)
        given = None if number % 3 == 1 else val
        epoch = number // 4
        expected, found = plain(train, given, epoch, number), captured(train, given, epoch, number)
        same({k: dict(v) for k, v in expected.items()}, {k: dict(v) for k, v in found.items()})
        same(state(plain), {name: t for name, t in state(captured).items() if name in state(plain)})
    assert graphs.captures == 2, "one with alphas, one without"
    assert captured.captured and not plain.captured
    assert plain.guard.report() == captured.guard.report()
    assert captured.guard.report()["skips_in_all"] == 3


def test_other_shapes_have_a_graph_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    graphs = NotedGraphs()
    plain, captured = make(), make(graphs=graphs)
    with caplog.at_level(logging.INFO):
        for number in range(12):
            given = batches(number, rows=3 if number % 2 else 4)
            for step in (plain, captured):
                step(*given, 0, number)
    same(state(plain), state(captured))
    assert graphs.captures == 2
    assert len([r for r in caplog.records if "as a CUDA graph" in r.message]) == 2


def test_a_state_that_is_loaded_is_replayed_from() -> None:
    plain, captured = make(), make(graphs=NotedGraphs())
    for number in range(5):
        plain(*batches(number), 0, number)
    for number in range(8):
        captured(*batches(number + 50), 0, number)
    captured.step.load_state_dict(plain.step.state_dict())
    captured.guard.load_state_dict(plain.guard.state_dict())
    for number in range(5, 8):
        for step in (plain, captured):
            step(*batches(number), 1, number)
    same(state(plain)["net.alpha.normal"], state(captured)["net.alpha.normal"])
    same(plain.step.state_dict(), captured.step.state_dict())


def undecided(how: str) -> Any:
    """A network's input, changed or not: by a value, by a mask, by a number of the host, by a draw there."""

    def changed(x: Tensor) -> Tensor:
        if how == "value":
            return x if float(x.sum()) > 0 else x + 1
        if how == "mask":
            return x.index_put((x > 0.5,), x[x > 0.5] * 2)
        if how == "table":
            return x * torch.tensor([1.0, 2.0])[1]
        return x if random.random() < 0.5 else x + 1

    def hook(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        images, *others = arguments
        return (changed(images), *others)

    return hook


@pytest.mark.parametrize(
    ("how", "reason"),
    [("value", "_local_scalar_dense"), ("mask", "by a mask"), ("table", "takes numbers"), ("draw", "random")],
)
def test_a_network_that_decides_on_the_host_is_not_captured(
    how: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain, other = make(), make(graphs=NotedGraphs())
    for step in (plain, other):
        step.step.net.register_forward_pre_hook(undecided(how))
    with caplog.at_level(logging.INFO):
        for step in (plain, other):
            random.seed(0)
            for number in range(6):
                step(*batches(number), 0, number)
    same(state(plain), state(other))
    assert other.why_not is not None and reason in other.why_not and not other.captured
    assert len([r for r in caplog.records if "without a CUDA graph" in r.message]) == 1


def test_a_capture_that_fails_leaves_the_step_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(NotedGraphs):
        def capture(self, work: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    plain, other = make(), make(graphs=Failing())
    with caplog.at_level(logging.INFO):
        for number in range(6):
            for step in (plain, other):
                step(*batches(number), 0, number)
    same(state(plain), state(other))
    assert other.why_not == "operation not permitted when stream is capturing"
    assert len([r for r in caplog.records if other.why_not in r.message]) == 1


def test_the_log_names_what_broke_a_capture_off_not_its_end() -> None:
    class Failing(NotedGraphs):
        first: Exception
        cause: Exception | None = None

        def capture(self, work: Any) -> Any:
            end = RuntimeError("capture_end: the capture was invalidated")
            if self.cause is not None:
                end.__cause__ = self.cause
            try:
                raise self.first
            finally:
                raise end

    def why(first: Exception, cause: Exception | None = None) -> str | None:
        graphs = Failing()
        graphs.first, graphs.cause = first, cause
        step = make(graphs=graphs)
        for number in range(4):
            step(*batches(number), 0, number)
        return step.why_not

    assert why(SupernetError("the driver refuses\nmore")) == "the driver refuses"
    assert why(ValueError()) == why(ValueError("low"), cause=KeyError(0)) == "capture_end: the capture was invalidated"


class Allocator:
    """CUDA's part of a capture: `ends` says whether the capture ends well; `pools` are those in use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, ends: bool) -> None:
        self.ends, self.stream = ends, "usual"
        self.pools: dict[tuple[int, int], int] = {}
        self.recording: set[tuple[int, int]] = set()
        self.generator = SimpleNamespace(clone_state=lambda: "state", graphsafe_set_state=self._restored)
        self.restored = self.handles = 0
        for name, value in {
            "Stream": lambda device: "aside",
            "CUDAGraph": lambda: Captured(self),
            "graph": self.graph,
            "device": lambda device: nullcontext(),
            "current_stream": lambda: SimpleNamespace(device_index=0, name=self.stream),
            "set_stream": lambda stream: setattr(self, "stream", stream.name),
            "graph_pool_handle": self._handle,
            "default_generators": [self.generator],
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", self._release, raising=False)

    def _restored(self, state: str) -> None:
        self.restored += state == "state"

    def _handle(self) -> tuple[int, int]:
        self.handles += 1
        return 0, self.handles

    def _end(self, device: int, pool: tuple[int, int]) -> None:
        if pool not in self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording.remove(pool)

    def _release(self, device: int, pool: tuple[int, int]) -> None:
        self.pools[pool] -= 1

    @contextmanager
    def graph(self, graph: "Captured", pool: tuple[int, int], **settings: Any) -> Iterator[None]:
        self.stream = settings["stream"]
        self.pools[pool] = self.pools.get(pool, 0) + 1
        self.recording.add(pool)
        graph.at = pool
        try:
            yield
        finally:
            if not self.ends:  # leaves everything as it is
                raise RuntimeError("operation failed due to a previous error during capture")
            self._end(0, pool)
            graph.held, self.stream = True, "usual"


class Captured:
    """A graph lets go of its pool where its capture came to an end."""

    def __init__(self, of: Allocator) -> None:
        self.of, self.held, self.at = of, False, (0, 0)

    def pool(self) -> tuple[int, int]:
        return self.at

    def __del__(self) -> None:
        if self.held:
            self.of._release(0, self.at)


def breaks() -> None:
    raise ValueError("in the work")


def test_a_capture_that_breaks_off_leaves_no_pool_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it can be ended or not; and a graph that is there keeps its memory."""
    gc.collect()
    gc.freeze()  # what other tests left need not be looked through a dozen times
    for ends, error in ((True, ValueError), (False, RuntimeError)):
        cuda = Allocator(monkeypatch, ends=ends)
        graphs = CudaGraphs(torch.device("cuda"))
        with pytest.raises(error) as raised:
            graphs.capture(breaks)
        del raised
        gc.collect()
        assert (cuda.stream, cuda.restored, cuda.recording, cuda.pools) == ("usual", 1, set(), {(0, 1): 0})
        cuda.ends = True
        graph = graphs.capture(lambda: None)
        cuda.ends = ends
        with pytest.raises(error) as raised:
            graphs.capture(breaks)
        del raised
        gc.collect()
        assert (cuda.stream, cuda.recording, cuda.pools) == ("usual", set(), {(0, 1): 0, (0, 2): 1})
        cuda.ends = True
        other = graphs.capture(lambda: None)
        assert cuda.pools == {(0, 1): 0, (0, 2): 2}, "graphs share their memory"
        del graph, other
        gc.collect()
        assert cuda.pools == {(0, 1): 0, (0, 2): 0}
    gc.unfreeze()


@needs_gpu
def test_on_a_gpu_a_capture_that_breaks_off_leaves_the_allocator_as_it_was() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    graphs = CudaGraphs(device)

    def private() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return sum(tuple(part["segment_pool_id"]) != (0, 0) for part in torch.cuda.memory_snapshot())

    def reads() -> None:
        float(torch.ones(1 << 20, device=device).sum())  # the host would have to wait

    before = private()
    for _ in range(3):
        with pytest.raises(RuntimeError):
            graphs.capture(reads)
    assert private() == before
    x = torch.zeros(4, device=device)
    graph = graphs.capture(lambda: x.add_(1))
    graph.replay()
    assert x.tolist() == [1.0] * 4 and torch.rand(2, device=device).isfinite().all()


def test_what_cannot_be_captured_says_why() -> None:
    assert "device cpu" in (make().why_not or "")
    assert "twice" in (make("exact", graphs=NotedGraphs()).why_not or "")
    step = make(graphs=NotedGraphs())
    assert CapturedStep(step.step, capture="off", graphs=NotedGraphs()).why_not == "capture=off"
    step.guard.waits = True
    assert "on the host" in (CapturedStep(step.step, graphs=NotedGraphs()).why_not or "")
    with pytest.raises(SupernetError, match="capture"):
        CapturedStep(step.step, capture="on")


@needs_gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_replays_what_it_would_run(method: str) -> None:
    """To rounding: a GPU may choose other algorithms from one run to the next."""
    plain, captured = make(method, device="cuda"), make(method, device="cuda")
    plain.why_not = "for comparison"
    for number in range(8):
        given = batches(number, scale=NAN if number in (2, 6) else 1.0, device="cuda")
        for step in (plain, captured):
            step(*given, number // 4, number)
    assert captured.captured, captured.why_not
    assert plain.guard.report() == captured.guard.report()
    for name, value in state(plain).items():
        torch.testing.assert_close(state(captured)[name], value, rtol=1e-3, atol=1e-5, msg=name)
