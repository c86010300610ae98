"""Classes by their import path, only where the caller allows it.

A path is taken where it lies below one of the prefixes in `allow`, which the caller gives and never the document, or
below this package's own spaces. It must be a subclass of `nn.Module`: functions are not called.
"""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import SupernetError
from .fields import FormError, brief

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_allow", "find_class", "path_of"]

OURS = "supernet.space.zoo"
_PATH = re.compile(r"(?!.*\.__)[A-Za-z_][A-Za-z0-9_]{0,60}(\.[A-Za-z_][A-Za-z0-9_]{0,60}){1,12}")
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def check_allow(allow: Sequence[str]) -> tuple[str, ...]:
    """`allow`, a list of prefixes such as "mypkg.blocks"."""
    if isinstance(allow, str):
        raise SupernetError(f"allow={allow[:60]!r} must be a list of prefixes of import paths: [{allow[:60]!r}]")
    for prefix in allow:
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise SupernetError(
                f"allow: {brief(prefix)} must be the beginning of an import path, such as 'mypkg.blocks'"
            )
    return tuple(allow)


def find_class(path: object, allow: Sequence[str], where: str) -> "type[nn.Module]":
    """The class at the import path `path`; imports its module, which is why the caller must allow it."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise FormError(f"{where}: {brief(path)} must be the import path of a class, such as 'mypkg.blocks.Fancy'")
    if not any(f"{path}.".startswith(f"{prefix}.") for prefix in (OURS, *allow)):
        trusted = f"allow=[{path.split('.')[0]}]"
        raise FormError(
            f"{where}: {path[:120]!r} would be imported, which runs its code; if you trust it, allow it: "
            f"space.{trusted} for a search, {trusted} for a retraining and in Python, "
            f"supernet.allow_networks({path.split('.')[0]!r}) before timm opens a folder"
        )
    module, _, attribute = path.rpartition(".")
    try:
        named = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise FormError(f"{where}: cannot import {path[:120]!r}: {error}; is it installed, or in PYTHONPATH?") from None
    except Exception as error:  # the module's own code may raise anything
        raise FormError(f"{where}: cannot import {path[:120]!r}: {brief(str(error), 120)}") from None
    from torch import nn

    if not isinstance(named, type) or not issubclass(named, nn.Module):
        raise FormError(f"{where}: {path[:120]!r} is no subclass of torch.nn.Module")
    return named


def path_of(factory: Callable[..., object]) -> str:
    """The import path of a class, "" where it has none: a class inside a function, one of a script."""
    module, qualified = getattr(factory, "__module__", ""), getattr(factory, "__qualname__", "")
    path = f"{module}.{qualified}"
    reachable = isinstance(factory, type) and module != "__main__" and "." not in qualified
    return path if reachable and _PATH.fullmatch(path) else ""
