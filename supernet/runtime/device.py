"""What the numbers are computed with: the device, mixed precision, seeds; the versions and hardware to note down."""

import contextlib
import importlib.metadata
import logging
import os
import platform
import random
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import SupernetError, unknown

__all__ = ["autocast", "available", "deterministic", "pick", "seed_everything", "synchronise", "versions"]

log = logging.getLogger(__name__)

PACKAGES = ("supernet", "torchvision", "timm", "numpy")


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


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what was asked of it; without this a timing measures the asking."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def versions() -> dict[str, Any]:
    """Package versions (None where not installed), git revision, CUDA, cuDNN and hardware, as plain values."""
    cuda = torch.cuda.is_available()
    return {
        **{name: _installed(name) for name in PACKAGES},
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "git": _git(Path(__file__).resolve()),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    }


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(source: Path) -> dict[str, Any] | None:
    """Revision and whether files differ from it; None outside a checkout of this source.

    The checkout must know the file: a package installed below somebody's own repository is no part of that.
    """

    def ask(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source.parent), *command],
            capture_output=True, text=True, check=True, timeout=10, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()  # fmt: skip

    try:
        ask("ls-files", "--error-unmatch", source.name)
        return {"revision": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
