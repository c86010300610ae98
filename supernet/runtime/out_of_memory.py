"""What surrounds a stage: the deterministic mode, and out of memory in one line with what to turn down."""

import functools
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import torch

from ..config import StageConfig
from ..errors import MemoryShortError
from .device import deterministic

__all__ = ["as_configured", "memory_in_one_line", "peak", "turn_down"]

P = ParamSpec("P")
R = TypeVar("R")
Config = TypeVar("Config", bound=StageConfig)

# The processor's allocator has no exception of its own.
_TEXTS = ("not enough memory: you tried to allocate", "can't allocate memory: you tried to allocate")
_REQUEST = re.compile(r"ried to allocate ([\d.]+) ?([KMGT]iB|bytes)?")


def as_configured(stage: Callable[Concatenate[Config, P], R]) -> Callable[Concatenate[Config, P], R]:
    """`stage(config, ...)` in the deterministic mode where the configuration asks for it, and with a word on memory."""

    @functools.wraps(stage)
    def surrounded(config: Config, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with deterministic(config.deterministic), memory_in_one_line(config):
            return stage(config, *args, **kwargs)

    return surrounded


@contextmanager
def memory_in_one_line(config: StageConfig) -> Iterator[None]:
    """Inside, running out of memory raises MemoryShortError, which names the settings of the stage to turn down."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_memory(error):
            raise
        device = torch.device("cuda" if isinstance(error, torch.OutOfMemoryError) else "cpu")
        request = _REQUEST.search(str(error))
        size = f" for {_size(request)} more" if request else ""
        raise MemoryShortError(
            f"out of memory{size}; the peak was {peak(device) / 2**30:.2f} GiB {_where(device)}. "
            f"Turn down {', '.join(turn_down(config, device))}"
        ) from None


def peak(device: torch.device) -> int:
    """Most bytes in use so far: of the device's tensors, on the processor of this process."""
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _TEXTS)


def _size(request: re.Match[str]) -> str:
    unit = request[2] or "bytes"
    return f"{float(request[1]) / 2**30:.2f} GiB" if unit == "bytes" else f"{request[1]} {unit}"


def _where(device: torch.device) -> str:
    if device.type == "cuda" and torch.cuda.is_available():
        return f"of {torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB on the GPU"
    return "in this process"


def turn_down(config: StageConfig, device: torch.device) -> list[str]:
    """What to turn down, as settings with their present values; batch size first: it costs the least quality."""
    network = config.network
    names = [f"batch_size={config.batch_size}"]
    names += [f"network.{key}={network[key]}" for key in ("channels", "layers", "cells_per_stage") if key in network]
    if not network.keys() & {"channels"}:
        names.append("network.channels")
    if config.data.image_size:
        names.append(f"data.image_size={config.data.image_size}")
    if config.amp == "off" and device.type == "cuda":
        names.append("or set amp=bf16")
    return names
