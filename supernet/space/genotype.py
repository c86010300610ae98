"""A genotype: one point of one search space, frozen, hashable and readable.

It holds what rebuilding needs (space, version, arguments, decisions) and where it came from (`origin`, no part of its
identity). Reading one needs neither torch nor trust: the JSON is bounded in size and depth, every type is checked, and
nothing in it is ever executed.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, TypeAlias, TypeVar

from ..errors import GenotypeError, SupernetError, unknown
from ..files import read_text
from .decision import Value

__all__ = ["JSON", "SCHEMA", "Genotype"]

# What JSON holds.
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

SCHEMA = 1
MOST_BYTES = 1_000_000  # a DARTS genotype has about 1,500
MOST_DEPTH = 8
# Strings, whose brackets are no nesting, and brackets. Possessive and with an optional end: linear on any text.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
T = TypeVar("T")

_FIELDS = ("schema", "space", "version", "args", "decisions", "origin")


@dataclass(frozen=True, eq=False)
class Genotype:
    """One point of the space `space`, of its `version` and with its `args`.

    `decisions` maps the path of every open decision to an option's name, a number, or a tuple of items' names.
    Two genotypes are equal when everything but `origin` is.
    """

    space: str
    decisions: Mapping[str, Value]
    version: int = 1
    args: Mapping[str, JSON] = field(default_factory=dict)
    origin: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.space, str, "space")
        _check(self.version, int, "version")
        for name in ("decisions", "args", "origin"):
            if not isinstance(getattr(self, name), Mapping):
                raise GenotypeError(
                    f"genotype field {name!r} must hold Mapping, not {type(getattr(self, name)).__name__}"
                )
        decided = {_check(k, str, "decisions"): _value(k, v) for k, v in self.decisions.items()}
        object.__setattr__(self, "decisions", MappingProxyType(dict(sorted(decided.items()))))
        object.__setattr__(self, "args", MappingProxyType(_plain_mapping(self.args, "args")))
        object.__setattr__(self, "origin", MappingProxyType(_plain_mapping(self.origin, "origin")))

    @cached_property
    def identity(self) -> str:
        """Canonical JSON of all but the origin."""
        return json.dumps({k: v for k, v in self._fields().items() if k != "origin"}, sort_keys=True)

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 of the identity."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genotype) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __reduce__(
        self,
    ) -> tuple[Callable[[str], "Genotype"], tuple[str]]:  # a mapping proxy cannot be copied or sent to a worker
        return Genotype.from_json, (self.to_json(),)

    def with_origin(self, **origin: JSON) -> "Genotype":
        """The same point with `origin` added to where it came from."""
        return Genotype(self.space, self.decisions, self.version, self.args, {**self.origin, **origin})

    def to_json(self) -> str:
        """Indented JSON that `from_json` reads back to an equal genotype with the same origin."""
        return json.dumps(self._fields(), indent=2, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, links: bool = True) -> "Genotype":
        """Read a JSON file; raises GenotypeError for anything that is not a genotype, without `links` for a link."""
        path = Path(path)
        try:
            return cls.from_json(read_text(path, MOST_BYTES, links=links))
        except GenotypeError:
            raise
        except SupernetError as error:
            raise GenotypeError(str(error)) from None
        except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, a path that holds a zero byte
            raise GenotypeError(f"cannot read a genotype from {str(path)!r}: {_reason(error)}") from None

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """The genotype in `text`; raises GenotypeError for wrong types, foreign or repeated keys, NaN, size, depth."""
        if len(text) > MOST_BYTES:
            raise GenotypeError(f"genotype text of {len(text)} characters; at most {MOST_BYTES} are read")
        if _depth(text) > MOST_DEPTH:
            raise GenotypeError(f"genotype nests deeper than {MOST_DEPTH} levels")
        try:
            data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        except (json.JSONDecodeError, RecursionError) as error:
            line = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
            raise GenotypeError(f"genotype is not JSON: {line}{_reason(error)}") from None
        except ValueError as error:  # a whole number of thousands of digits
            if isinstance(error, GenotypeError):
                raise
            raise GenotypeError("genotype holds a number too long to read") from None
        if not isinstance(data, dict):
            raise GenotypeError(f"a genotype is a JSON object, not {type(data).__name__}")
        for key in data:
            if key not in _FIELDS:
                raise GenotypeError(unknown("genotype field", key, _FIELDS))
        missing = [key for key in ("schema", "space", "version", "decisions") if key not in data]
        if missing:
            raise GenotypeError(f"genotype lacks {', '.join(missing)}")
        if type(data["schema"]) is not int or data["schema"] != SCHEMA:
            raise GenotypeError(f"genotype schema {repr(data['schema'])[:20]}; this version reads schema {SCHEMA}")
        return cls(data["space"], data["decisions"], data["version"], data.get("args", {}), data.get("origin", {}))

    def _fields(self) -> dict[str, JSON]:
        return {
            "schema": SCHEMA,
            "space": self.space,
            "version": self.version,
            "args": dict(self.args),
            "decisions": {k: list(v) if isinstance(v, tuple) else v for k, v in self.decisions.items()},
            "origin": dict(self.origin),
        }


def _check(value: object, kind: type[T], where: str) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise GenotypeError(f"genotype field {where!r} must hold {kind.__name__}, not {type(value).__name__}")
    return value


def _value(path: str, value: object) -> Value:
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise GenotypeError(f"decision {path[:80]!r} must hold a name, a whole number or a list of names")


def _plain_mapping(value: Mapping[str, object], where: str) -> dict[str, JSON]:
    return {_check(k, str, where): _plain(v, where) for k, v in value.items()}


def _plain(value: object, where: str) -> JSON:
    """A copy made of JSON's own types; raises GenotypeError for any other."""
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, list | tuple):
        return [_plain(v, where) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise GenotypeError(f"genotype field {where!r} holds {value}; numbers must be finite")
    if value is None or isinstance(value, str | int | float):
        return value
    raise GenotypeError(f"genotype field {where!r} holds {type(value).__name__}, which JSON has not")


def _once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise GenotypeError("genotype repeats a key")
    return mapping


def _no_constant(name: str) -> NoReturn:
    raise GenotypeError(f"genotype holds {name}; numbers must be finite")


def _depth(text: str) -> int:
    """An upper bound of the nesting, read without parsing, so that a hostile depth never reaches the parser."""
    depth = most = 0
    for token in _TOKEN.findall(text):
        if token in "[{":
            depth += 1
            most = max(most, depth)
        elif token in "]}":
            depth -= 1
    return most


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "msg", None) or error)[:120]
