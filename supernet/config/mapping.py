"""From nested mappings, such as a composed Hydra configuration, to the dataclasses."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import TypeVar

from ..errors import SupernetError, unknown
from .checks import require

__all__ = ["from_mapping"]

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, object], where: str = "") -> T:
    """`values` as an instance of the dataclass `cls`; raises SupernetError for an unknown key or a wrong type."""
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise SupernetError(unknown("setting", f"{where}{key}", [f"{where}{name}" for name in hints]))
    return cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()})


def _convert(hint: object, value: object, where: str) -> object:
    """`value` as one of the types that `hint` allows."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SupernetError(f"{where}={repr(value)[:80]} must be a group of settings")
        return from_mapping(hint, value, f"{where}.")
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in options:
        return None
    for option in options:
        plain = typing.get_origin(option) or option
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(plain, type) and isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
            strange = [key for key in value if not isinstance(key, str)] if isinstance(value, dict) else []
            require(not strange, f"{where} has the key {strange[:1]}: names of settings are text")
            return value
        if option == list[str] and isinstance(value, str):  # one text, or several with commas, for a list of them
            return [part for word in value.split(",") if (part := word.strip())]
    if str in options and isinstance(value, int) and not isinstance(value, bool):  # a folder called 2024
        return str(value)
    if str in options and isinstance(value, bool | float):  # what was written is not known any more: 1.10 is 1.1
        raise SupernetError(f"{where}={value} is text, and was read as a number or a truth value: put it in quotes")
    raise SupernetError(f"{where}={repr(value)[:80]} must be of type {' or '.join(map(_type_name, options))}")


def _type_name(option: object) -> str:
    plain = typing.get_origin(option) or option
    return "null" if plain is types.NoneType or not isinstance(plain, type) else plain.__name__
