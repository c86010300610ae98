"""The command ``supernet doctor``: what is installed and what would be used; ``supernet doctor memory``: does it fit.

    supernet doctor                                  versions, compilers, GPU, the executor that auto takes
    supernet doctor memory space=darts batch=64      the peak memory of that search, before it runs

Lines are printed as they are found; torch is loaded for those that need it, after the others.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import SupernetError, unknown

if TYPE_CHECKING:
    from ..train.footprint import Footprint

__all__ = ["main"]

PACKAGES = ("torch", "torchvision", "timm", "hydra-core", "numpy")
FOR_KERNELS = {"cuda-bindings": "cuda.bindings", "nvidia-cuda-nvrtc": None}  # package -> module that must be found
WIDTH = 26
HELP = """\
Usage: supernet doctor             what is installed, and which executor auto takes here
       supernet doctor memory ...  the peak memory of a search before it runs; takes what supernet search takes,
                                   and batch=N for batch_size=N

  supernet doctor memory space=darts batch=64 data=cifar10
  supernet doctor memory space=darts batch=256 network.checkpoint=true executor=torch"""


def main(arguments: Sequence[str]) -> int:
    """The exit code. Raises SupernetError for mistakes in what was given."""
    if any(argument in ("-h", "--help", "help") for argument in arguments):
        print(HELP)
        return 0
    if not arguments:
        return _health()
    what, *rest = arguments
    if what != "memory":
        raise SupernetError(unknown("check of supernet doctor:", what, ["memory"]))
    return _memory(rest)


def _health() -> int:
    _row("supernet", f"{__version__}, python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        _row(name, _version(name) or "missing")
    missing = [
        name for name, module in FOR_KERNELS.items() if not _version(name, "-cu12", "-cu13") or not _found(module)
    ]
    _row("CUDA kernels' compiler", f"missing: {', '.join(missing)}" if missing else "NVRTC")
    own = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [own] if own else ["g++", "clang++", "c++"])), None)
    _row("C++ compiler", found or "none: executor=torch serves on the processor (g++, clang++ or $CXX)")
    _row("cores", str(os.cpu_count()))
    import torch

    from ..network.executor.automatic import choose

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    _row("GPU", ", ".join(gpus) or "none that torch can use")
    device = torch.device("cuda" if gpus else "cpu")
    for dtype in (torch.float32, torch.bfloat16) if gpus else (torch.float32,):
        name, why = choose(device, dtype)
        _row("executor=auto takes", f"{name} for {str(dtype).removeprefix('torch.')} on {device.type}: {why}")
    return 0


def _memory(arguments: Sequence[str]) -> int:
    config = _search_config(arguments)
    from ..runtime.out_of_memory import turn_down
    from ..train.footprint import footprint, room

    found = footprint(config)
    where = f"{found.device}, executor {found.executor}" if found.executor else str(found.device)
    space = config.space.file or config.space.name
    print(f"one step of space {space}, batch {config.batch_size}, on {where}, amp {config.amp}")
    _print(found)
    here = room(found.device)
    fits = "" if found.peak < here else "  IT DOES NOT FIT"
    _row("memory of this machine", f"{here / 2**20:12,.1f} MiB{fits}")
    less = turn_down(config, found.device)
    if found.checkpoint is False:
        less.append("or set network.checkpoint=true (slower)")
    _row("to turn down", ", ".join(less))
    return 0


def _search_config(arguments: Sequence[str]) -> Any:
    """The settings of the search that `arguments` describe, read as `supernet search` reads them."""
    for argument in arguments:
        if argument.startswith("-"):
            raise SupernetError(f"supernet doctor memory takes key=value only, not {argument[:60]!r}")
    lines = [f"batch_size={a.removeprefix('batch=')}" if a.startswith("batch=") else a for a in arguments]
    from .settings import register
    from .space_file import with_space_file
    from .validate import check

    register()
    checked = check("search", with_space_file("search", lines))
    if len(checked.configs) != 1:
        raise SupernetError("supernet doctor memory looks at one search; give one value for each setting")
    return checked.configs[0]


def _print(found: "Footprint") -> None:
    for name, size in found.parts.items():
        _row(name, f"{size / 2**20:12,.1f} MiB")
    when = "in a backward pass" if found.in_backward else "in a forward pass"
    _row("peak", f"{found.peak / 2**20:12,.1f} MiB  {when}; libraries come on top")


def _row(name: str, value: str) -> None:
    print(f"{name:{WIDTH}}{value}")
    sys.stdout.flush()


def _version(name: str, *suffixes: str) -> str | None:
    for one in (name, *(name + suffix for suffix in suffixes)):
        try:
            return importlib.metadata.version(one)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _found(module: str | None) -> bool:
    try:
        return module is None or find_spec(module) is not None
    except ImportError:
        return False
