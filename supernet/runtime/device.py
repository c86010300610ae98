"""What the numbers are computed with: the device, mixed precision, seeds."""

import contextlib
import logging
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch

from ..errors import SupernetError, unknown
from ..version import versions

__all__ = ["autocast", "available", "deterministic", "pick", "seed_everything", "versions"]

log = logging.getLogger(__name__)


def available() -> list[str]:
    """Names of the devices of this machine, `auto` and `cpu` first."""
    names = ["auto", "cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return names


def pick(device: str = "auto") -> torch.device:
    """The device of that name; `auto` is the first CUDA device where there is one, else the processor.

    Raises SupernetError for a name that is unknown or that this machine does not have.
    """
    names = available()
    if device == "auto":
        return torch.device("cuda" if "cuda" in names else "cpu")
    if device in names:
        return torch.device(device)
    try:
        torch.device(device)
    except RuntimeError:
        raise SupernetError(unknown("device", device, names)) from None
    raise SupernetError(f"device={device!r} is not on this machine; it has {', '.join(names)} (device=auto chooses)")


def autocast(device: torch.device, amp: str) -> AbstractContextManager[None]:
    """Mixed precision for a forward pass: `off` changes nothing, `bf16` needs no loss scaling."""
    if amp == "off":
        return contextlib.nullcontext()
    if amp == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    raise SupernetError(unknown("precision amp", amp, ["off", "bf16"]))


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Inside, equal runs on one machine have equal bits, on a GPU too; what was set before comes back.

    Without it a GPU may choose another convolution or add in another order each time. torch raises RuntimeError at an
    operation that has no deterministic form.
    """
    if not on:
        yield
        return
    log.info("deterministic: no TF32, no choice of the fastest convolution, no atomic sums; steps on a GPU take longer")
    cudnn, matmul, name = torch.backends.cudnn, torch.backends.cuda.matmul, "CUBLAS_WORKSPACE_CONFIG"
    flags = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    workspace = os.environ.get(name)
    os.environ[name] = workspace if workspace in (":4096:8", ":16:8") else ":4096:8"  # read when cuBLAS is loaded
    try:
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False, False
        yield
    finally:
        torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
        os.environ.pop(name)
        if workspace is not None:
            os.environ[name] = workspace


def seed_everything(seed: int) -> None:
    """Seeds python's `random`, numpy's global generator, torch on the processor and on every CUDA device.

    A seed has 64 bits; torch's generator on the processor takes the lower 32 of them.
    """
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])  # a plain number may have 32 bits
    torch.manual_seed(seed)
