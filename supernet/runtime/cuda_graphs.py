"""CUDA graphs of one device: what runs before a capture, and the capture."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol
from weakref import WeakSet

import torch

__all__ = ["CudaGraphs", "Graph", "Graphs"]


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Launches all of it, behind what the current stream has to do."""
        ...


class Graphs(Protocol):
    """Makes graphs of work; tests have one that needs no GPU."""

    device: torch.device

    def aside(self) -> AbstractContextManager[None]:
        """Inside, work runs as a graph would be captured, without being captured."""
        ...

    def capture(self, work: Callable[[], object]) -> Graph:
        """`work` as a graph, without running it; RuntimeError where something in it cannot be captured."""
        ...


class CudaGraphs:
    """Graphs that are replayed one at a time and share their memory: none leaves anything in it for another."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._alive: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A stream of its own, so that nothing that is left by work before a capture is tied to another."""
        before = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            yield
        before.wait_stream(self._stream)

    def capture(self, work: Callable[[], object]) -> Graph:
        graph = torch.cuda.CUDAGraph()
        # The memory of graphs that are gone is gone too.
        pool = next((other.pool() for other in self._alive), None) or torch.cuda.graph_pool_handle()
        with torch.cuda.device(self.device):
            before = torch.cuda.current_stream()
            try:
                # Other threads, such as the one that writes checkpoints, may go on meanwhile.
                with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                    work()
            except BaseException:
                # A capture that breaks off leaves its stream the current one, the allocator giving out the pool's
                # memory, and the generator as if it were still on.
                torch.cuda.set_stream(before)
                with suppress(RuntimeError):  # raised where the capture did end: then the graph lets go of its pool
                    torch._C._cuda_endAllocateToPool(before.device_index, pool)
                    torch._C._cuda_releasePool(before.device_index, pool)
                generator = torch.cuda.default_generators[before.device_index]
                generator.graphsafe_set_state(generator.clone_state())
                raise
        self._alive.add(graph)
        return graph
