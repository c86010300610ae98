"""Checked access to the parts of a document: each mistake says where it stands, what was given and what is allowed."""

import re
from collections.abc import Collection, Mapping
from typing import TypedDict, TypeVar

from ...errors import SupernetError, unknown
from ..genotype import JSON
from .strict import Data, Scalar

__all__ = ["FormError", "Header", "brief", "fields", "items", "mapping", "name", "one_of", "plain", "text", "whole"]

Name = TypeVar("Name", bound=str)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,79}")


class FormError(SupernetError):
    """A mistake in the written form of a space; the message begins with where it stands."""


class Header(TypedDict):
    """What a document says of its space beside the body."""

    name: str
    version: int
    args: Mapping[str, JSON]


def brief(value: object, most: int = 60) -> str:
    """`value` as it is shown in a message."""
    shown = " ".join(repr(value[:most] if isinstance(value, str | list) else value).split())  # a module's has lines
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def fields(value: object, where: str, allowed: Collection[str], required: Collection[str] = ()) -> dict[str, Data]:
    """`value` as a mapping with no other keys than `allowed` and all of `required`."""
    if not isinstance(value, Mapping):
        keys = f" with the keys {', '.join(sorted(allowed))[:200]}" if allowed else ""
        raise FormError(f"{where}: {brief(value)} must be a mapping{keys}")
    for key in value:
        if key not in allowed:
            raise FormError(f"{where}: {unknown('key', key, allowed)}")
    for key in required:
        if key not in value:
            raise FormError(f"{where} lacks the key {key!r}")
    return dict(value)


def items(value: object, where: str) -> dict[str, Data]:
    """A list or a mapping as a mapping: the places of a list are named by their numbers."""
    if isinstance(value, list) and value:
        return {str(i): item for i, item in enumerate(value)}
    if isinstance(value, Mapping) and value:
        return dict(value)
    raise FormError(f"{where}: {brief(value)} must be a list or a mapping with at least one part")


def mapping(value: object, where: str) -> dict[str, Data]:
    """`value` as a mapping with any keys."""
    return fields(value, where, value if isinstance(value, Mapping) else ())


def text(value: object, where: str, most: int = 200) -> str:
    """A text of 1 to `most` characters that can be printed."""
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise FormError(f"{where}: {brief(value)} must be a text of 1 to {most} characters")
    return value


def name(value: object, where: str) -> str:
    """A name: letters, digits, "_", "+" and "-"."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise FormError(f"{where}: the name {brief(value)} must be of letters, digits, '_', '+' and '-', at most 80")
    return value


def whole(value: object, where: str, low: int = 0, high: int = 10**6) -> int:
    """A whole number of `low`..`high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FormError(f"{where}: {brief(value)} must be a whole number of {low}..{high}")
    return value


def one_of(value: object, where: str, allowed: Collection[Name]) -> Name:
    """One of the names in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise FormError(f"{where}: {unknown('name', value, allowed)}")
    return next(name for name in allowed if name == value)


def plain(value: object, where: str) -> Scalar:
    """A number, a text, a truth value or null."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FormError(f"{where}: {brief(value)} must be a number, a text, a truth value or null")
