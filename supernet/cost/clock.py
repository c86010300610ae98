"""Timing of short calls on a machine that may be busy: calls take turns, and the fastest turn of each counts.

Turns go round, so that a busy moment falls on all calls, and what disturbs one only ever adds. On the processor a turn
is one call, behind a different one as in a network: repeated at once it would find its own data in the caches. With one
thread the clock is the thread's own, which stands still while others have the processor. On a GPU a turn repeats its
call for about `BLOCK` seconds, since waiting for the device takes longer than a call.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..errors import SupernetError, unknown
from ..network.seeding import seeded
from ..ops.channels_last import to_channels_last
from .placed import Shape

__all__ = ["Conditions", "Timer", "fastest", "prepared"]

BLOCK = 2e-3
MOST = 100  # calls in a turn
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

Timer: TypeAlias = Callable[[Sequence[Callable[[], object]]], list[float]]  # seconds of each call


@dataclass(frozen=True)
class Conditions:
    """What a latency depends on besides the network: images a batch, threads of the processor, type, layout, device."""

    batch: int = 8
    threads: int = 1
    dtype: str = "float32"
    channels_last: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.dtype, str) or self.dtype not in DTYPES:
            raise SupernetError(unknown("dtype", self.dtype, DTYPES))
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in (self.batch, self.threads)):
            raise SupernetError(
                f"batch={self.batch!r:.40} and threads={self.threads!r:.40} must be whole numbers of 1 or more"
            )
        try:
            torch.device(self.device)
        except (RuntimeError, TypeError):
            raise SupernetError(
                f"device={self.device!r:.40} is no device of torch, such as 'cpu' or 'cuda:0'"
            ) from None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, torch computes with `threads` threads and keeps no graph."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)


def fastest(calls: Sequence[Callable[[], object]], rounds: int = 20, device: str = "cpu") -> list[float]:
    """Seconds of each call: the fastest of `rounds` turns, after one warm-up turn."""
    on_gpu = torch.device(device).type == "cuda"
    wait = torch.cuda.synchronize if on_gpu else _nothing
    clock = time.perf_counter if on_gpu or torch.get_num_threads() > 1 else time.thread_time

    def turn(call: Callable[[], object], times: int) -> float:
        wait()
        begun = clock()
        for _ in range(times):
            call()
        wait()
        return (clock() - begun) / times

    times = []
    for call in calls:
        turn(call, 1)  # makes buffers, chooses algorithms
        times.append(min(MOST, int(BLOCK / max(turn(call, 1), 1e-9)) + 1) if on_gpu else 1)
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            best[i] = min(best[i], turn(call, times[i]))
    return best


def prepared(make: Callable[[], nn.Module], inputs: Sequence[Shape], where: Conditions) -> Callable[[], object]:
    """A call that runs the module which `make` builds, in evaluation, on random inputs."""
    dtype = DTYPES[where.dtype]
    with seeded(0), torch.device(where.device):
        module = make().to(dtype).eval()
        tensors = [torch.randn(shape, dtype=dtype) for shape in inputs]
    for child in module.modules():  # in place, a call would change the input of the next: SiLU upon SiLU ends at zero
        if getattr(child, "inplace", False) and not isinstance(child, nn.ReLU | nn.ReLU6):
            vars(child)["inplace"] = False
    if where.channels_last:
        module = to_channels_last(module)
        tensors = [_channels_last(x) for x in tensors]
    return lambda: module(*tensors)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _nothing() -> None:
    pass
