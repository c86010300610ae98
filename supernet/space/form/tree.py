"""The body `decisions`: a tree of decisions as a list, each an entry of one of three kinds.

    - {one_of: op, options: [conv, pool], below: {conv: [{integer: kernel, low: 3, high: 7, step: 2}]}}
    - {k_of: inputs, k: 2, options: ["0", "1", "2"]}

`below` has the decisions that an option opens; `group`, `mark` and `default` are those of decision.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import SupernetError
from ..decision import MARKS, Decision, Integer, KOf, OneOf
from .fields import FormError, brief, fields, items, one_of, text, whole

__all__ = ["first_difference", "read_tree", "write_tree"]

MOST_OPTIONS = 1000
_SHARED = ("below", "group", "mark", "default")
_KINDS = {"one_of": ("options",), "k_of": ("options", "k"), "integer": ("low", "high", "step")}


def read_tree(data: Any, where: str) -> tuple[Decision, ...]:
    """The decisions of a list of entries."""
    if not isinstance(data, list):
        raise FormError(f"{where}: {brief(data)} must be a list of decisions")
    return tuple(_decision(entry, f"{where}[{i}]") for i, entry in enumerate(data))


def _decision(entry: Any, where: str) -> Decision:
    kinds = [kind for kind in _KINDS if isinstance(entry, Mapping) and kind in entry]
    if len(kinds) != 1:
        raise FormError(f"{where}: {brief(entry)} must be a mapping with one of the keys {', '.join(_KINDS)}")
    kind = kinds[0]
    own = fields(entry, where, {kind, *_KINDS[kind], *_SHARED})
    where = f"{where} {text(own[kind], where)!r}"
    shared: dict[str, Any] = {key: text(own[key], f"{where}.{key}") for key in ("group", "default") if key in own}
    if "mark" in own:
        shared["mark"] = one_of(own["mark"], f"{where}.mark", MARKS)
    below = {
        option: read_tree(data, f"{where}.below.{option}")
        for option, data in (items(own["below"], f"{where}.below") if "below" in own else {}).items()
    }
    try:
        made = _make(kind, own, below, shared, where)
    except FormError:
        raise
    except SupernetError as error:
        raise FormError(f"{where}: {error}") from None
    for option in below:
        one_of(option, f"{where}.below", made.options)
    return made


def _make(kind: str, own: Mapping[str, Any], below: Mapping[str, Any], shared: Any, where: str) -> Decision:
    if kind == "integer":
        low, high = (whole(own.get(key), f"{where}.{key}", -(10**6)) for key in ("low", "high"))
        step = whole(own.get("step", 1), f"{where}.step", 1)
        if (high - low) // step >= MOST_OPTIONS:
            raise FormError(f"{where}: the range {low}..{high} by {step} has over {MOST_OPTIONS} values")
        return Integer(own[kind], low, high, step, opens=below, **shared)
    names = own.get("options")
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_OPTIONS:
        raise FormError(f"{where}.options: {brief(names)} must be a list of 1 to {MOST_OPTIONS} names")
    names = [text(option, f"{where}.options") for option in names]
    if len(set(names)) < len(names):
        raise FormError(f"{where}.options: {brief(names)} must be different names")
    options = {option: below.get(option, ()) for option in names}
    if kind == "one_of":
        return OneOf(own[kind], options, **shared)
    return KOf(own[kind], options, k=whole(own.get("k"), f"{where}.k", 1), **shared)


def write_tree(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """The entries that `read_tree` makes equal decisions of."""
    return [_entry(decision) for decision in decisions]


def _entry(decision: Decision) -> dict[str, Any]:
    entry: dict[str, Any]
    if isinstance(decision, Integer):
        entry = {"integer": decision.name, "low": decision.low, "high": decision.high, "step": decision.step}
    elif isinstance(decision, KOf):
        entry = {"k_of": decision.name, "k": decision.k, "options": list(decision.options)}
    else:
        entry = {"one_of": decision.name, "options": list(decision.options)}
    usual = {"group": "", "mark": "trainable", "default": ""}
    entry |= {key: getattr(decision, key) for key, value in usual.items() if getattr(decision, key) != value}
    below = {option: write_tree(opened) for option, opened in decision.options.items() if opened}
    return entry | ({"below": below} if below else {})


def first_difference(written: Any, found: Any, where: str = "decisions") -> str:
    """Where two trees, as `write_tree` gives them, differ first; "" where they are equal."""
    if isinstance(written, Mapping) and isinstance(found, Mapping):
        for key in [*written, *(key for key in found if key not in written)]:
            if key not in written or key not in found:
                return f"{where}.{key} is {'not written' if key in found else 'written only'}"
            if told := first_difference(written[key], found[key], f"{where}.{key}"):
                return told
        return ""  # keys stand in the order of the options, which are a list
    if isinstance(written, list) and isinstance(found, list):
        for i, (one, other) in enumerate(zip(written, found, strict=False)):
            if told := first_difference(one, other, f"{where}[{i}]"):
                return told
        return "" if len(written) == len(found) else f"{where} has {len(written)} entries here and {len(found)} there"
    return "" if written == found else f"{where} is {brief(written)} here and {brief(found)} there"
