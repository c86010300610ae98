"""Reads YAML as plain data and nothing else: mappings with text for keys, lists, text, whole numbers, decimals, null.

Bounded in bytes, depth and values before anything is built. No tags, so nothing is ever made of a class; no anchors
and aliases, so nothing grows; no key twice; finite numbers only. Scalars follow YAML 1.2's core schema: `true` and
`false` are truth values, while `yes`, `no`, `on`, `1:30` and `2026-01-01` are text.
"""

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from ...errors import SupernetError

__all__ = ["MOST_BYTES", "MOST_DEPTH", "MOST_VALUES", "Data", "Scalar", "read_yaml", "scalar", "write_yaml"]

Data: TypeAlias = "bool | int | float | str | list[Data] | dict[str, Data] | None"
Scalar: TypeAlias = bool | int | float | str | None

MOST_BYTES = 1_000_000
MOST_DEPTH = 40  # the deepest space of the literature has 12
MOST_VALUES = 20_000  # keys and values
LARGEST = 10**9  # of a number; no channel, class or option counts that far

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # used for its events only


def read_yaml(text: str) -> Data:
    """The one document in `text`; raises SupernetError with the line for anything that this subset has not."""
    if not isinstance(text, str):
        raise SupernetError(f"YAML is read from text, not from {type(text).__name__}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SupernetError("the YAML holds characters that are no Unicode text") from None
    if size > MOST_BYTES:
        raise SupernetError(f"the YAML has {size:,} bytes; at most {MOST_BYTES:,} are read")
    loader = _Loader(text)
    try:
        reader = _Reader()
        while loader.check_event():
            reader.take(loader.get_event())
        return reader.root
    except yaml.YAMLError as error:
        raise SupernetError(f"the YAML cannot be read: {_reason(error)}") from None
    finally:
        loader.dispose()


def scalar(text: str) -> Scalar:
    """What an unquoted scalar stands for; raises SupernetError for numbers that are too large or not finite."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise SupernetError(f"the number {text} is not finite")
    if _INT.fullmatch(text):
        if len(text) > 11 or abs(int(text)) > LARGEST:
            raise SupernetError(f"the number {_short(text)} is beyond {LARGEST:,}")
        return int(text)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise SupernetError(f"the number {_short(text)} is beyond {LARGEST:,}")
        return number
    return text


def write_yaml(data: object) -> str:
    """The text of plain data that `read_yaml` reads back to equal data; short lists and mappings stand in one line."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))


class _Dumper(yaml.SafeDumper):
    """Writes without anchors, and quotes what `scalar` would not read as text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = scalar(text) == text and isinstance(scalar(text), str)
    except SupernetError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _quoted)


@dataclass
class _Open:
    """A mapping or a list that is being filled; `key` is the one that waits for its value."""

    container: dict[str, Data] | list[Data]
    key: str | None = None

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.container, dict) and self.key is None


class _Reader:
    """Builds the data from the parser's events with a stack, so that depth costs no recursion."""

    def __init__(self) -> None:
        self.root: Data = None
        self._stack: list[_Open] = []
        self._documents = self._values = 0

    def take(self, event: Event) -> None:
        """The next event of the parser."""
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise SupernetError(f"line {_line(event)}: a second document begins; one file is one space")
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._put(self._stack.pop().container, event)
        elif isinstance(event, AliasEvent | ScalarEvent | MappingStartEvent | SequenceStartEvent):
            self._values += 1
            _check(event, self._values, len(self._stack))
            if isinstance(event, ScalarEvent):
                self._scalar(event)
            elif self._stack and self._stack[-1].awaits_key:
                raise SupernetError(f"line {_line(event)}: a key must be text")
            else:
                self._stack.append(_Open({} if isinstance(event, MappingStartEvent) else []))

    def _scalar(self, event: ScalarEvent) -> None:
        if not self._stack or not self._stack[-1].awaits_key:
            self._put(_value(event), event)
        elif event.value in self._stack[-1].container:
            raise SupernetError(f"line {_line(event)}: the key {_short(event.value)!r} stands twice")
        else:
            self._stack[-1].key = event.value

    def _put(self, value: Data, event: Event) -> None:
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        if isinstance(top.container, list):
            top.container.append(value)
        elif top.key is None:
            raise SupernetError(f"line {_line(event)}: a key must be text")
        else:
            top.container[top.key], top.key = value, None


def _check(event: Event, values: int, depth: int) -> None:
    where = f"line {_line(event)}"
    if isinstance(event, AliasEvent) or event.anchor is not None:
        raise SupernetError(f"{where}: anchors and aliases (& and *) are not read; name a part in `let` and `ref` it")
    if event.tag is not None:
        raise SupernetError(f"{where}: the tag {_short(str(event.tag))} is not read; a space file is plain data")
    if values > MOST_VALUES:
        raise SupernetError(f"{where}: more than {MOST_VALUES:,} keys and values")
    if depth >= MOST_DEPTH:
        raise SupernetError(f"{where}: nested deeper than {MOST_DEPTH} levels")


def _value(event: ScalarEvent) -> Data:
    if event.style:  # quoted, or a block of text
        return str(event.value)
    try:
        return scalar(event.value)
    except SupernetError as error:
        raise SupernetError(f"line {_line(event)}: {error}") from None


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


def _reason(error: yaml.YAMLError) -> str:
    """The parser's reason in one line, with the line number where it has one."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is no YAML"
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return where + " ".join(str(problem).split())[:160]


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
