"""The body `decisions`: a tree of decisions as a list, each an entry of one of three kinds.

    - {one_of: op, options: [conv, pool], below: {conv: [{integer: kernel, low: 3, high: 7, step: 2}]}}
    - {k_of: inputs, k: 2, options: ["0", "1", "2"]}

`below` has the decisions that an option opens; `group`, `mark` and `default` are those of decision.py.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from ...errors import SupernetError
from ..decision import MARKS, Decision, Integer, KOf, Mark, OneOf
from .fields import FormError, brief, fields, items, one_of, text, whole
from .strict import Data

__all__ = ["first_difference", "read_tree", "write_tree"]

MOST_OPTIONS = 1000
_SHARED = ("below", "group", "mark", "default")
_KINDS = {"one_of": ("options",), "k_of": ("options", "k"), "integer": ("low", "high", "step")}


class _Shared(TypedDict, total=False):
    group: str
    default: str
    mark: Mark


def read_tree(data: object, where: str) -> tuple[Decision, ...]:
    """The decisions of a list of entries."""
    if not isinstance(data, list):
        raise FormError(f"{where}: {brief(data)} must be a list of decisions")
    return tuple(_decision(entry, f"{where}[{i}]") for i, entry in enumerate(data))


def _decision(entry: object, where: str) -> Decision:
    kinds = [kind for kind in _KINDS if isinstance(entry, Mapping) and kind in entry]
    if len(kinds) != 1:
        raise FormError(f"{where}: {brief(entry)} must be a mapping with one of the keys {', '.join(_KINDS)}")
    kind = kinds[0]
    own = fields(entry, where, {kind, *_KINDS[kind], *_SHARED})
    decision_name = text(own[kind], where)
    where = f"{where} {decision_name!r}"
    shared: _Shared = {}
    if "group" in own:
        shared["group"] = text(own["group"], f"{where}.group")
    if "default" in own:
        shared["default"] = text(own["default"], f"{where}.default")
    if "mark" in own:
        shared["mark"] = one_of(own["mark"], f"{where}.mark", MARKS)
    below = {
        option: read_tree(data, f"{where}.below.{option}")
        for option, data in (items(own["below"], f"{where}.below") if "below" in own else {}).items()
    }
    try:
        decision = _make(kind, decision_name, own, below, shared, where)
    except FormError:
        raise
    except SupernetError as error:
        raise FormError(f"{where}: {error}") from None
    for option in below:
        one_of(option, f"{where}.below", decision.options)
    return decision


def _make(
    kind: str,
    name: str,
    own: Mapping[str, object],
    below: Mapping[str, tuple[Decision, ...]],
    shared: _Shared,
    where: str,
) -> Decision:
    if kind == "integer":
        low, high = (whole(own.get(key), f"{where}.{key}", -(10**6)) for key in ("low", "high"))
        step = whole(own.get("step", 1), f"{where}.step", 1)
        if (high - low) // step >= MOST_OPTIONS:
            raise FormError(f"{where}: the range {low}..{high} by {step} has over {MOST_OPTIONS} values")
        return Integer(name, low, high, step, opens=below, **shared)
    names = own.get("options")
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_OPTIONS:
        raise FormError(f"{where}.options: {brief(names)} must be a list of 1 to {MOST_OPTIONS} names")
    names = [text(option, f"{where}.options") for option in names]
    if len(set(names)) < len(names):
        raise FormError(f"{where}.options: {brief(names)} must be different names")
    options = {option: below.get(option, ()) for option in names}
    if kind == "one_of":
        return OneOf(name, options, **shared)
    return KOf(name, options, k=whole(own.get("k"), f"{where}.k", 1), **shared)


def write_tree(decisions: Sequence[Decision]) -> list[Data]:
    """The entries that `read_tree` makes equal decisions of."""
    return [_entry(decision) for decision in decisions]


def _entry(decision: Decision) -> dict[str, Data]:
    entry: dict[str, Data]
    if isinstance(decision, Integer):
        entry = {"integer": decision.name, "low": decision.low, "high": decision.high, "step": decision.step}
    elif isinstance(decision, KOf):
        entry = {"k_of": decision.name, "k": decision.k, "options": list(decision.options)}
    else:
        entry = {"one_of": decision.name, "options": list(decision.options)}
    usual = {"group": "", "mark": "trainable", "default": ""}
    entry |= {key: getattr(decision, key) for key, value in usual.items() if getattr(decision, key) != value}
    below: dict[str, Data] = {option: write_tree(opened) for option, opened in decision.options.items() if opened}
    if below:
        entry["below"] = below
    return entry


def first_difference(written: object, other: object, where: str = "decisions") -> str:
    """Where two trees, as `write_tree` gives them, differ first; "" where they are equal."""
    if isinstance(written, Mapping) and isinstance(other, Mapping):
        for key in [*written, *(key for key in other if key not in written)]:
            if key not in written or key not in other:
                return f"{where}.{key} is {'not written' if key in other else 'written only'}"
            if difference := first_difference(written[key], other[key], f"{where}.{key}"):
                return difference
        return ""  # keys stand in the order of the options, which are a list
    if isinstance(written, list) and isinstance(other, list):
        for i, (here, there) in enumerate(zip(written, other, strict=False)):
            if difference := first_difference(here, there, f"{where}[{i}]"):
                return difference
        return "" if len(written) == len(other) else f"{where} has {len(written)} entries here and {len(other)} there"
    return "" if written == other else f"{where} is {brief(written)} here and {brief(other)} there"
