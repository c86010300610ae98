"""Differentiable neural architecture search: a space, a search, a plain network and a genotype.

The public names below are loaded when they are first used (PEP 562), so that ``import supernet`` costs milliseconds and
does not load torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import export_model, retrain, search
    from .data.augment import Augment
    from .errors import SupernetError
    from .network import Supernet, build, recalibrate
    from .space import Genotype, Space, get_space, published
    from .space.choice import Choice
    from .space.form.allowed import allow_networks
    from .space.layers import Activation, Attention, Conv2d, Linear, Norm, Repeat, Resize
    from .space.value import rounded
    from .space.wrap import wrap

__all__ = [
    "Activation",
    "Attention",
    "Augment",
    "Choice",
    "Conv2d",
    "Genotype",
    "Linear",
    "Norm",
    "Repeat",
    "Resize",
    "Space",
    "Supernet",
    "SupernetError",
    "__version__",
    "allow_networks",
    "build",
    "export_model",
    "get_space",
    "published",
    "recalibrate",
    "retrain",
    "rounded",
    "search",
    "wrap",
]

# Public name -> module of this package that defines it. No name may be that of a subpackage: importing the subpackage
# `supernet.export` sets the attribute `export` here, which would hide a function of that name; hence `export_model`.
_HOME = {
    "Activation": "space.layers",
    "Attention": "space.layers",
    "Augment": "data.augment",
    "Choice": "space.choice",
    "Conv2d": "space.layers",
    "Genotype": "space",
    "Linear": "space.layers",
    "Norm": "space.layers",
    "Repeat": "space.layers",
    "Resize": "space.layers",
    "Space": "space",
    "Supernet": "network",
    "allow_networks": "space.form.allowed",
    "SupernetError": "errors",
    "build": "network",
    "export_model": "api",
    "get_space": "space",
    "published": "space",
    "recalibrate": "network",
    "retrain": "api",
    "rounded": "space.value",
    "search": "api",
    "wrap": "space.wrap",
}


def _join_checkout() -> None:
    """In a bare checkout `ops`, `cuda_kernels` and `conf` lie beside this folder, not in it: look there too."""
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(here)
    installed = os.path.isdir(os.path.join(here, "ops"))
    if not installed and all(os.path.isdir(os.path.join(root, room)) for room in ("ops", "cuda_kernels", "conf")):
        __path__.append(root)


_join_checkout()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
