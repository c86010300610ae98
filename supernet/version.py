"""The version of this package, and of all that a result depends on."""

import os
from typing import TypedDict

__all__ = ["Revision", "Versions", "__version__", "versions"]

__version__ = "0.1.0"


class Revision(TypedDict):
    """A git revision, and whether files differ from it."""

    revision: str
    dirty: bool


class Versions(TypedDict):
    """Packages (None where not installed), revision of this source, CUDA and hardware, as plain values."""

    supernet: str | None
    torchvision: str | None
    timm: str | None
    numpy: str | None
    torch: str
    python: str
    git: Revision | None
    cuda: str | None
    cudnn: int | None
    platform: str
    processor: str
    cores: int | None
    threads: int
    devices: list[str]


def versions() -> Versions:
    """The versions and the hardware of this process. Imports torch."""
    import platform

    import torch

    from .processor import processor

    cuda = torch.cuda.is_available()
    return {
        "supernet": _installed("supernet"),
        "torchvision": _installed("torchvision"),
        "timm": _installed("timm"),
        "numpy": _installed("numpy"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "git": _git(os.path.realpath(__file__)),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    }


def _installed(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(source: str) -> Revision | None:
    """The revision of a checkout that knows the file `source`; None outside one.

    A package installed below somebody's own repository is no part of that, so the file itself must be known.
    """
    import subprocess

    def ask(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", os.path.dirname(source), *command],
            capture_output=True, text=True, check=True, timeout=10, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()  # fmt: skip

    try:
        ask("ls-files", "--error-unmatch", os.path.basename(source))
        return {"revision": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
