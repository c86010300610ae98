"""Arguments of the language's layers: named as in Python, read as values, their types checked."""

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from ..layers import Elastic
from .fields import FormError, brief, fields
from .modules import TEXTS
from .scope import Scope
from .values import VALUES, is_number, read_value

__all__ = ["check_sizes", "layer_arguments"]

LARGEST_SIZE = 65_536  # of a channel, a kernel ...


def layer_arguments(layer: Callable[..., nn.Module], node: object, scope: Scope, where: str) -> dict[str, object]:
    """Keyword arguments for `layer`; a value that is no mapping is its first argument."""
    parameters = inspect.signature(layer).parameters
    first = next(iter(parameters))
    if node is None:
        node = {}
    elif not isinstance(node, Mapping) or any(head in node for head in VALUES):
        node = {first: node}
    own = fields(node, where, parameters)
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in own]
    if missing:
        raise FormError(f"{where} lacks the argument {missing[0]!r}")
    return {key: _argument(key, node, parameters[key].default, scope, f"{where}.{key}") for key, node in own.items()}


def check_sizes(layer: nn.Module, where: str) -> None:
    """Raises FormError where a number among the values that `layer` may take is too small or too large for a size."""
    for setting in layer.settings if isinstance(layer, Elastic) else ():
        for key, value in setting.items():
            if isinstance(value, int) and not 1 <= value <= LARGEST_SIZE:
                raise FormError(f"{where}.{key}: {value} must lie in 1..{LARGEST_SIZE:,}")


def _argument(key: str, node: object, default: object, scope: Scope, where: str) -> object:
    texts = key in TEXTS
    value = read_value(node, scope, where, texts)
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(value, str):
        fits = texts
    else:
        fits = is_number(value) or (value is None and default is None)
    if not fits:
        allowed = "true or false" if isinstance(default, bool) else "a text" if texts else "a number"
        raise FormError(f"{where}: {brief(value)} must be {allowed}")
    if isinstance(value, int | float) and abs(value) > LARGEST_SIZE:
        raise FormError(f"{where}: {brief(value)} is beyond {LARGEST_SIZE:,}")
    return value
