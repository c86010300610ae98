"""Seconds of functions on the processor or a GPU, and what a plain copy reaches there."""

import statistics
import time
from collections.abc import Callable
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

    def seconds(self, *runs: Callable[[], Any]) -> list[float]:
        """The median of `repeats` runs of each, after two that do not count; fewer, at least three, of slow ones."""
        timed = [
            partial(self._device, _captured(run, self.device)) if self._flush is not None else partial(_host, run)
            for run in runs
        ]
        once = [max(one() for _ in range(2)) for one in timed]
        number = max(3, min(self.repeats, int(BUDGET / max(sum(once), 1e-9))))
        found = [[one() for one in timed] for _ in range(number)]
        return [statistics.median(times) for times in zip(*found, strict=True)]

    def _device(self, replay: Callable[[], Any]) -> float:
        assert self._flush is not None
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


def _captured(run: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """`run` as one CUDA graph."""
    with torch.cuda.device(device):
        stream, present = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            for _ in range(2):
                run()
        present.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    return graph.replay


def copy_bandwidth(clock: Clock, size: int) -> float:
    """Bytes a second of copying `size` bytes, read and written bytes counted."""
    source = torch.zeros(size, dtype=torch.uint8, device=clock.device)
    target = torch.zeros_like(source)
    (seconds,) = clock.seconds(lambda: target.copy_(source))
    return 2 * size / seconds
