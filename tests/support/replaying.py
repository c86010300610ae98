"""Graphs for a machine without a GPU: operations are noted while they run, undone, and run again at each replay.

As a CUDA graph does, a replay knows no Python: it runs the same operations on the same memory, and takes every number
that Python handed over as it was at the capture. So a step that decides on the host, or that puts a tensor in another
place, comes out wrong here as it would there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["NotedGraphs"]


class NotedGraphs:
    """Stands in for `CudaGraphs`; `captures` counts them."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.captures = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def capture(self, work: Callable[[], object]) -> "_Graph":
        self.captures += 1
        notes = _Notes()
        with notes:
            work()
        with torch.no_grad():
            for tensor, before in notes.given.values():
                tensor.copy_(before)
        return _Graph(notes)


class _Notes(TorchDispatchMode):
    """Each operation with its arguments and results, and what the memory held that came from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.given: dict[Any, tuple[Tensor, Tensor]] = {}
        self._made: set[int] = set()
        self._outside: set[int] = set()
        self._alive: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            place = tensor.untyped_storage().data_ptr()
            key = place, tensor.storage_offset(), tensor.shape, tensor.stride()
            if place not in self._made and key not in self.given:
                self.given[key] = tensor.detach(), tensor.detach().clone()
                self._outside.add(place)
        result = func(*args, **kwargs)
        self._made |= {t.untyped_storage().data_ptr() for t in _tensors(result)} - self._outside
        self._alive += _tensors((args, kwargs, result))  # so that no memory serves twice
        self.calls.append((func, _noted(args), _noted(kwargs), _noted(result)))
        return result


class _Graph:
    def __init__(self, notes: _Notes) -> None:
        self.notes = notes

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.notes.calls:
            again = func(*args, **kwargs)
            for place, value in zip(_tensors(result), _tensors(again), strict=True):
                if place.data_ptr() != value.data_ptr() or place.stride() != value.stride():
                    place.copy_(value)


def _noted(value: Any) -> Any:
    """`value` with tensors cut off from any gradient, which an operation run again has no use for."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _noted(item) for key, item in value.items()}
    return type(value)(_noted(item) for item in value) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []
