"""Registered spaces by the import path of the function that makes them, for those that nothing else can write down."""

import json
from collections.abc import Mapping
from functools import lru_cache

from ...errors import SupernetError
from ..genotype import JSON, Genotype
from ..registry import SPACES, get_space
from ..space import Space
from .classes import OURS
from .signature import signature

__all__ = ["factory_path", "named_by", "registered"]


def registered(name: str, args: Mapping[str, JSON]) -> Space:
    """The registered space, made once for equal arguments, since a network's tree takes a while to read."""
    return _made(name, json.dumps(dict(Genotype(name, {}, args=args).args)))


@lru_cache(maxsize=32)
def _made(name: str, args: str) -> Space:
    return get_space(name, **json.loads(args))


def factory_path(space: Space) -> str:
    """The path of the function that makes this registered space; "" where it is none, or has been changed."""
    if space.name not in SPACES:
        return ""
    try:
        known = registered(space.name, space.args)
    except SupernetError:
        return ""
    path = _path(space.name)
    return path if path.startswith(f"{OURS}.") and signature(known) == signature(space) else ""


def named_by(path: str) -> str:
    """The name of the registered space that the function at `path` makes; "" where there is none."""
    name = path.rpartition(".")[2]
    return name if path.startswith(f"{OURS}.") and name in SPACES and _path(name) == path else ""


def _path(name: str) -> str:
    factory = SPACES[name]
    return f"{factory.__module__}.{getattr(factory, '__qualname__', '')}"
