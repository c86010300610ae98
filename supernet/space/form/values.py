"""Numbers and names in a written network: constants, named values, choices, arithmetic; no code.

channels                          the value of that name
width.0                           the first entry of a list of that name
{mul: [channels, 4]}              also add, sub, floordiv; operands are such expressions
{rounded: [expression, 8]}        to a multiple, as MobileNets do
{choice: [16, 32]}                a decision; also {choice: {small: 16, large: 32}}, {choice: {from: 1, to: 4}}
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, TypeGuard

from ...errors import SupernetError, unknown
from ..arithmetic import Plain
from ..choice import Choice
from ..choice_base import CHOICE_MARKS, ChoiceMark
from ..value import Derived, ValueChoice, rounded
from .fields import FormError, brief, fields, one_of, text, whole
from .scope import Scope
from .strict import LARGEST

__all__ = ["VALUES", "Number", "Settings", "is_number", "read_value", "settings_of"]

Number = int | float | ValueChoice | Derived

ARITHMETIC: dict[str, tuple[Callable[..., Number], int]] = {  # name -> (function, most operands)
    "add": (operator.add, 8),
    "floordiv": (operator.floordiv, 2),
    "mul": (operator.mul, 8),
    "rounded": (rounded, 2),
    "sub": (operator.sub, 2),
}
VALUES = ("choice", *ARITHMETIC)
MOST_ENTRIES = 1000  # of a list, with those of its lists: thirty lists of twice the one before are 10^9
_RANGE = ("from", "to", "step")


class Settings(TypedDict, total=False):
    """What a choice may say beside its options."""

    share: str
    mark: ChoiceMark
    default: Plain


SETTINGS = tuple(Settings.__annotations__)


def read_value(node: object, scope: Scope, where: str, texts: bool = False) -> object:
    """The value that `node` stands for; with `texts` a text that is no name in scope stands for itself."""
    if isinstance(node, str):
        return _named(node, scope, where, texts)
    if node is None or isinstance(node, bool | int | float):
        return node
    if isinstance(node, list):
        values = [read_value(item, scope, f"{where}[{i}]", texts) for i, item in enumerate(node)]
        if _entries(values) > MOST_ENTRIES:
            raise FormError(f"{where}: a list of more than {MOST_ENTRIES:,} entries, each name in it written out")
        return values
    heads = [head for head in VALUES if isinstance(node, Mapping) and head in node]
    if not isinstance(node, Mapping) or len(heads) != 1:
        key = next(iter(node), "") if isinstance(node, Mapping) else node
        raise FormError(f"{where}: {unknown('value', key, VALUES)}")
    return _choice(node, where) if heads[0] == "choice" else _arithmetic(node, heads[0], scope, where)


def _entries(value: object) -> int:
    """The entries of a list whose own lists have at most MOST_ENTRIES each, theirs included."""
    return sum(1 + _entries(item) for item in value) if isinstance(value, list) else 0


def is_number(value: object) -> TypeGuard[Number]:
    """Whether `value` is a number, decided or not."""
    return isinstance(value, Number) and not isinstance(value, bool)


def settings_of(node: Mapping[str, object], where: str) -> Settings:
    """`share`, `mark` and `default` of a choice, those that are written."""
    settings: Settings = {}
    if node.get("share") is not None:
        settings["share"] = text(node["share"], f"{where}.share")
    if node.get("mark") is not None:
        settings["mark"] = one_of(node["mark"], f"{where}.mark", CHOICE_MARKS)
    default = node.get("default")
    if default is not None:
        if not isinstance(default, Plain):
            raise FormError(f"{where}.default: {brief(default)} must be the name of an option")
        settings["default"] = default
    return settings


def _named(name: str, scope: Scope, where: str, texts: bool) -> object:
    if name in scope:
        return scope.value(name, read_value, where)
    if texts:
        return name
    raise FormError(f"{where}: {unknown('name', name, scope.names())}")


def _choice(node: Mapping[str, object], where: str) -> ValueChoice | Choice:
    own = fields(node, where, {"choice", *SETTINGS})
    options = _options(own["choice"], where)
    settings = settings_of(own, where)
    try:
        return Choice(options, **settings)
    except SupernetError as error:
        raise FormError(f"{where}: {error}") from None


def _options(options: object, where: str) -> range | Sequence[Plain] | Mapping[str, Plain]:
    """The options of a choice of values: numbers or texts."""
    if isinstance(options, Mapping) and options and set(options) <= set(_RANGE):
        low, high = (whole(options.get(key), f"{where}.choice.{key}", -(10**6)) for key in ("from", "to"))
        return range(low, high + 1, whole(options.get("step", 1), f"{where}.choice.step", 1))
    values = list(options.values()) if isinstance(options, Mapping) else options
    plain = isinstance(values, list) and all(isinstance(v, Plain) and not isinstance(v, bool) for v in values)
    if not plain or not values or not isinstance(options, list | Mapping):
        raise FormError(f"{where}.choice: {brief(options)} must be numbers or texts: a list, a mapping, or from and to")
    return options


def _arithmetic(node: Mapping[str, object], head: str, scope: Scope, where: str) -> Number:
    fields(node, where, {head})
    where, items = f"{where}.{head}", node[head]
    compute, most = ARITHMETIC[head]
    if not isinstance(items, list) or not 2 <= len(items) <= most:
        raise FormError(f"{where}: {brief(items)} must be a list of 2{f' to {most}' if most > 2 else ''} values")
    operands = []
    for operand in [read_value(item, scope, f"{where}[{i}]") for i, item in enumerate(items)]:
        if not is_number(operand):
            raise FormError(f"{where}: {brief(operand)} is no number")
        operands.append(operand)
    total = operands[0]
    for operand in operands[1:]:
        try:
            total = compute(total, operand)
        except (SupernetError, ZeroDivisionError) as error:
            raise FormError(f"{where}: {error}") from None
        if isinstance(total, int | float) and abs(total) > LARGEST:
            raise FormError(f"{where}: {brief(total)} is beyond {LARGEST:,}")
    return total
