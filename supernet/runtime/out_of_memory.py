"""What surrounds a stage: the deterministic mode, and out of memory in one line with what to turn down."""

import functools
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from ..errors import MemoryShortError
from .device import deterministic

__all__ = ["as_configured", "memory_in_one_line", "peak", "turn_down"]

Stage = TypeVar("Stage", bound=Callable[..., Any])

# The processor's allocator has no exception of its own.
_TEXTS = ("not enough memory: you tried to allocate", "can't allocate memory: you tried to allocate")
_WANTED = re.compile(r"ried to allocate ([\d.]+) ?([KMGT]iB|bytes)?")


def as_configured(stage: Stage) -> Stage:
    """`stage(config, ...)` in the deterministic mode where the configuration asks for it, and with a word on memory."""

    @functools.wraps(stage)
    def surrounded(config: Any, *args: Any, **kwargs: Any) -> Any:
        with deterministic(config.deterministic), memory_in_one_line(config):
            return stage(config, *args, **kwargs)

    return cast(Stage, surrounded)


@contextmanager
def memory_in_one_line(config: Any) -> Iterator[None]:
    """Inside, running out of memory raises MemoryShortError, which names the settings of the stage to turn down."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_memory(error):
            raise
        device = torch.device("cuda" if isinstance(error, torch.OutOfMemoryError) else "cpu")
        found = _WANTED.search(str(error))
        wanted = f" for {_size(found)} more" if found else ""
        raise MemoryShortError(
            f"out of memory{wanted}; the peak was {peak(device) / 2**30:.2f} GiB {_where(device)}. "
            f"Turn down {', '.join(turn_down(config, device))}"
        ) from None


def peak(device: torch.device) -> int:
    """Most bytes in use so far: of the device's tensors, on the processor of this process."""
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _TEXTS)


def _size(found: re.Match[str]) -> str:
    unit = found[2] or "bytes"
    return f"{float(found[1]) / 2**30:.2f} GiB" if unit == "bytes" else f"{found[1]} {unit}"


def _where(device: torch.device) -> str:
    if device.type == "cuda" and torch.cuda.is_available():
        return f"of {torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB on the GPU"
    return "in this process"


def turn_down(config: Any, device: torch.device) -> list[str]:
    """What to turn down, as settings with their present values; batch size first: it costs the least quality."""
    network: Mapping[str, Any] = config.network
    names = [f"batch_size={config.batch_size}"]
    names += [f"network.{key}={network[key]}" for key in ("channels", "layers", "cells_per_stage") if key in network]
    if not network.keys() & {"channels"}:
        names.append("network.channels")
    if config.data.image_size:
        names.append(f"data.image_size={config.data.image_size}")
    if config.amp == "off" and device.type == "cuda":
        names.append("or set amp=bf16")
    return names
