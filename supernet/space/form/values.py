"""Numbers and names in a written network: constants, named values, choices, arithmetic; no code.

channels                          the value of that name
width.0                           the first entry of a list of that name
{mul: [channels, 4]}              also add, sub, floordiv; operands are such expressions
{rounded: [expression, 8]}        to a multiple, as MobileNets do
{choice: [16, 32]}                a decision; also {choice: {small: 16, large: 32}}, {choice: {from: 1, to: 4}}
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import SupernetError, unknown
from ..choice import Choice
from ..decision import MARKS
from ..value import Derived, ValueChoice, rounded
from .fields import FormError, brief, fields, one_of, text, whole
from .scope import Scope
from .strict import LARGEST

__all__ = ["VALUES", "is_number", "read_value", "settings_of"]

ARITHMETIC: dict[str, tuple[Callable[[Any, Any], Any], int]] = {  # name -> (function, most operands)
    "add": (operator.add, 8),
    "floordiv": (operator.floordiv, 2),
    "mul": (operator.mul, 8),
    "rounded": (rounded, 2),
    "sub": (operator.sub, 2),
}
VALUES = ("choice", *ARITHMETIC)
SETTINGS = ("share", "mark", "default")
_RANGE = ("from", "to", "step")


def read_value(node: Any, scope: Scope, where: str, texts: bool = False) -> Any:
    """The value that `node` stands for; with `texts` a text that is no name in scope stands for itself."""
    if isinstance(node, str):
        return _named(node, scope, where, texts)
    if node is None or isinstance(node, bool | int | float):
        return node
    if isinstance(node, list):
        return [read_value(item, scope, f"{where}[{i}]", texts) for i, item in enumerate(node)]
    heads = [head for head in VALUES if head in node]
    if len(heads) != 1:
        given = next(iter(node), "")
        raise FormError(f"{where}: {unknown('value', given, VALUES)}")
    return _choice(node, where) if heads[0] == "choice" else _arithmetic(node, heads[0], scope, where)


def is_number(value: Any) -> bool:
    """Whether `value` is a number, decided or not."""
    return isinstance(value, int | float | ValueChoice | Derived) and not isinstance(value, bool)


def settings_of(node: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`share`, `mark` and `default` of a choice."""
    found = {key: node[key] for key in SETTINGS if node.get(key) is not None}
    if "share" in found:
        text(found["share"], f"{where}.share")
    if "mark" in found:
        one_of(found["mark"], f"{where}.mark", (*MARKS, "fixed"))
    return found


def _named(name: str, scope: Scope, where: str, texts: bool) -> Any:
    if name in scope:
        return scope.value(name, read_value, where)
    if texts:
        return name
    raise FormError(f"{where}: {unknown('name', name, scope.names())}")


def _choice(node: Mapping[str, Any], where: str) -> Any:
    own = fields(node, where, {"choice", *SETTINGS})
    options = own["choice"]
    if isinstance(options, Mapping) and options and set(options) <= set(_RANGE):
        low, high = (whole(options.get(key), f"{where}.choice.{key}", -(10**6)) for key in ("from", "to"))
        options = range(low, high + 1, whole(options.get("step", 1), f"{where}.choice.step", 1))
    elif isinstance(options, Mapping):
        options = dict(options)
    found = list(options.values()) if isinstance(options, dict) else options
    if not isinstance(found, range):
        plain = isinstance(found, list) and all(isinstance(o, int | float | str) for o in found)
        if not plain or not found or any(isinstance(option, bool) for option in found):
            raise FormError(
                f"{where}.choice: {brief(options)} must be numbers or texts: a list, a mapping, or from and to"
            )
    settings = settings_of(own, where)
    try:
        return Choice(options, **settings)
    except SupernetError as error:
        raise FormError(f"{where}: {error}") from None


def _arithmetic(node: Mapping[str, Any], head: str, scope: Scope, where: str) -> Any:
    fields(node, where, {head})
    where = f"{where}.{head}"
    compute, most = ARITHMETIC[head]
    if not isinstance(node[head], list) or not 2 <= len(node[head]) <= most:
        raise FormError(f"{where}: {brief(node[head])} must be a list of 2{f' to {most}' if most > 2 else ''} values")
    operands = [read_value(item, scope, f"{where}[{i}]") for i, item in enumerate(node[head])]
    for operand in operands:
        if not is_number(operand):
            raise FormError(f"{where}: {brief(operand)} is no number")
    total = operands[0]
    for operand in operands[1:]:
        try:
            total = compute(total, operand)
        except (SupernetError, ZeroDivisionError) as error:
            raise FormError(f"{where}: {error}") from None
        if isinstance(total, int | float) and abs(total) > LARGEST:
            raise FormError(f"{where}: {brief(total)} is beyond {LARGEST:,}")
    return total
