"""The stage `doctor`: what is installed and what would be used; `supernet doctor memory`: whether a search fits.

    supernet doctor                                  versions, compilers, GPU, the executor that auto takes
    supernet doctor memory space=darts batch=64      the peak memory of that search, before it runs

Lines are printed as they are found; torch is loaded for those that need it, after the others.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .. import __version__
from ..config import SearchConfig
from ..errors import SupernetError, unknown
from .stage import Stage, Words

if TYPE_CHECKING:
    from .footprint import Footprint

__all__ = ["STAGE"]

PACKAGES = ("torch", "torchvision", "timm", "hydra-core", "numpy")
FOR_KERNELS = {"cuda-bindings": "cuda.bindings", "nvidia-cuda-nvrtc": None}  # package -> module that must be found
WIDTH = 26
HELP = """\
Usage: supernet doctor             what is installed, and which executor auto takes here
       supernet doctor memory ...  the peak memory of a search before it runs; takes what supernet search takes,
                                   and batch=N for batch_size=N

  supernet doctor memory space=darts batch=64 data=cifar10
  supernet doctor memory space=darts batch=256 network.checkpoint=true executor=torch"""


def run(words: Words) -> int:
    """Raises SupernetError for mistakes in the words."""
    if any(word in ("-h", "--help", "help") for word in words.given):
        print(HELP)
    elif not words.given:
        _health()
    elif words.given[0] == "memory":
        _memory(_search_config(words))
    else:
        raise SupernetError(unknown("check of supernet doctor:", words.given[0], ["memory"]))
    return 0


def _health() -> None:
    _row("supernet", f"{__version__}, python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        _row(name, _version(name) or "missing")
    missing = [
        name for name, module in FOR_KERNELS.items() if not _version(name, "-cu12", "-cu13") or not _importable(module)
    ]
    _row("CUDA kernels' compiler", f"missing: {', '.join(missing)}" if missing else "NVRTC")
    chosen = os.environ.get("CXX")
    compiler = next(filter(None, map(shutil.which, [chosen] if chosen else ["g++", "clang++", "c++"])), None)
    _row("C++ compiler", compiler or "none: executor=torch serves on the processor (g++, clang++ or $CXX)")
    _row("cores", str(os.cpu_count()))
    import torch

    from ..network.executor.automatic import choose

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    _row("GPU", ", ".join(gpus) or "none that torch can use")
    device = torch.device("cuda" if gpus else "cpu")
    for dtype in (torch.float32, torch.bfloat16) if gpus else (torch.float32,):
        name, why = choose(device, dtype)
        where = "separable candidates, " if name == "cpu" else ""  # of dense ones it takes torch
        _row("executor=auto takes", f"{name} for {where}{str(dtype).removeprefix('torch.')} on {device.type}: {why}")


def _memory(config: SearchConfig) -> None:
    from ..runtime.out_of_memory import turn_down
    from .footprint import footprint, room

    needed = footprint(config)
    where = f"{needed.device}, executor {needed.executor}" if needed.executor else str(needed.device)
    space = config.space.file or config.space.name
    print(f"one step of space {space}, batch {config.batch_size}, on {where}, amp {config.amp}")
    _print(needed)
    here = room(needed.device)
    fits = "" if needed.peak < here else "  IT DOES NOT FIT"
    _row("memory of this machine", f"{here / 2**20:12,.1f} MiB{fits}")
    less = turn_down(config, needed.device)
    if needed.checkpoint is False:
        less.append("or set network.checkpoint=true (slower)")
    _row("to turn down", ", ".join(less))


def _search_config(words: Words) -> SearchConfig:
    """The settings of the search that the words behind `memory` describe, read as `supernet search` reads them."""
    lines = words.given[1:]
    for line in lines:
        if line.startswith("-"):
            raise SupernetError(f"supernet doctor memory takes key=value only, not {line[:60]!r}")
    lines = tuple(f"batch_size={a.removeprefix('batch=')}" if a.startswith("batch=") else a for a in lines)
    configs = [config for config in words.settings("search", lines) if isinstance(config, SearchConfig)]
    if len(configs) != 1:
        raise SupernetError("supernet doctor memory looks at one search; give one value for each setting")
    return configs[0]


def _print(needed: "Footprint") -> None:
    for name, size in needed.parts.items():
        _row(name, f"{size / 2**20:12,.1f} MiB")
    when = "in a backward pass" if needed.in_backward else "in a forward pass"
    _row("peak", f"{needed.peak / 2**20:12,.1f} MiB  {when}; libraries come on top")


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


def _importable(module: str | None) -> bool:
    try:
        return module is None or find_spec(module) is not None
    except ImportError:
        return False


STAGE = Stage(
    name="doctor",
    help="check this installation, or whether a search fits",
    example="supernet doctor memory space=darts batch=64",
    run=run,
)
