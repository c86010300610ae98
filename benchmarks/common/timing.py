"""Seconds of functions on the processor or a GPU, and what a plain copy reaches there."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

__all__ = ["Clock", "copy_bandwidth"]

FLUSH = 256 * 2**20  # bytes written between two runs on a GPU: more than any second-level cache holds
BUDGET = 1.0  # seconds that all runs of one function may take, above the fewest


class Clock:
    """Median seconds of functions that take turns.

    On a GPU each is captured as a CUDA graph first, so that launches from python do not count, the cache is flushed
    before each run, and the time is the device's own. On the processor it is the wall's.
    """

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats = device, repeats
        self._flush = torch.empty(FLUSH, dtype=torch.uint8, device=device) if device.type == "cuda" else None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Whatever a timed function keeps of a forward is made in here.

        autograd runs a node of the backward on the stream of its forward, and a graph is captured on one stream alone.
        """
        if self._stream is None:
            yield
            return
        torch.cuda.synchronize(self.device)
        with torch.cuda.stream(self._stream):
            yield

    def seconds(self, *runs: Callable[[], Any]) -> list[float]:
        """The median of `repeats` runs of each, after two that do not count; fewer, at least three, of slow ones."""
        timed = [
            partial(_host, run)
            if self._stream is None
            else partial(self._device, _captured(run, self.device, self._stream))
            for run in runs
        ]
        once = [max(one() for _ in range(2)) for one in timed]
        number = max(3, min(self.repeats, int(BUDGET / max(sum(once), 1e-9))))
        rounds = [[one() for one in timed] for _ in range(number)]
        return [statistics.median(times) for times in zip(*rounds, strict=True)]

    def _device(self, replay: Callable[[], Any]) -> float:
        assert self._flush is not None
        with torch.cuda.device(self.device):  # events are recorded on the present device's stream
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(self.device)
            self._flush.zero_()  # and while it runs, the host asks for all that follows
            begin.record()
            replay()
            end.record()
            torch.cuda.synchronize(self.device)
        return begin.elapsed_time(end) / 1e3


def _host(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _captured(run: Callable[[], Any], device: torch.device, stream: torch.cuda.Stream) -> Callable[[], Any]:
    """`run` as one CUDA graph, captured on `stream`."""
    torch.cuda.synchronize(device)
    with torch.cuda.stream(stream):  # also around the capture: one that breaks off leaves its stream the present one
        for _ in range(2):
            run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            run()
    torch.cuda.synchronize(device)
    return graph.replay


def copy_bandwidth(clock: Clock, size: int) -> float:
    """Bytes a second of copying `size` bytes, read and written bytes counted."""
    source = torch.zeros(size, dtype=torch.uint8, device=clock.device)
    target = torch.zeros_like(source)
    (seconds,) = clock.seconds(lambda: target.copy_(source))
    return 2 * size / seconds
