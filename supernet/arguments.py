"""Checks a mapping of arguments against a function's signature, so that a typo is one line and no traceback."""

import inspect
from collections.abc import Callable, Mapping

from .errors import SupernetError, unknown

__all__ = ["MOST_OF_NETWORK", "MOST_SIZE", "check_arguments"]

MOST_SIZE = 4096  # channels, pixels, features
# Largest whole number that an argument of a network may be, by its name: beyond these a slip, or a stranger's file,
# would fill the memory before any other error. Published networks have 48 channels, 20 layers and 21,841 classes.
MOST_OF_NETWORK = {
    "channels": MOST_SIZE, "layers": 500, "cells_per_stage": 500, "stem_multiplier": 64, "in_chans": MOST_SIZE,
    "hidden": 8192, "num_classes": 1_000_000,
}  # fmt: skip


def check_arguments(function: Callable[..., object], args: Mapping[str, object], what: str) -> None:
    """Raises SupernetError where `args` names no keyword of `function`, or has another type than its default.

    Keywords without a default take any type; a default of None too; lists serve for tuples, whole numbers for floats.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    allowed = {name: p for name, p in inspect.signature(function).parameters.items() if p.kind in kinds}
    for key, value in args.items():
        if key not in allowed:
            raise SupernetError(unknown(f"argument of {what}:", key, allowed))
        default = allowed[key].default
        if default is not inspect.Parameter.empty and default is not None and not _fits(value, type(default)):
            kind = "list" if isinstance(default, tuple) else type(default).__name__
            raise SupernetError(f"argument {key}={str(value)[:60]!r} of {what} must be of type {kind}")


def _fits(value: object, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    wider: dict[type, tuple[type, ...]] = {float: (int, float), tuple: (list, tuple)}
    return isinstance(value, wider.get(kind, (kind,)))
