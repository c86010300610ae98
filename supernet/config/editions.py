"""How settings grow: which came later, and which default was another before.

Every set of settings that was ever released is an edition, and EDITION counts them. A field that comes later says since
which edition it is there; one whose default changes says until which edition it was another:

    warp: int = field(default=3, metadata={"since": 2})               edition 1 had no such setting
    lr: float = field(default=0.1, metadata={"was": {3: 0.025}})      editions before 3 had 0.025

`runs/identity.py` says what that is good for.
"""

import dataclasses
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["EDITION", "changed_in", "default_in", "in_edition", "since"]

EDITION = 3

C = TypeVar("C", bound="DataclassInstance")
Field = dataclasses.Field[object]


def since(field: Field) -> int:
    """The edition that a setting came with; 1 for those of the first."""
    edition = field.metadata.get("since", 1)
    assert isinstance(edition, int)
    return edition


def default_in(field: Field, edition: int) -> object:
    """The default that a setting had in an edition, or has now; MISSING where it must be given."""
    former = {until: value for until, value in field.metadata.get("was", {}).items() if edition < until}
    if former:
        return former[min(former)]
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return in_edition(value, edition)
    return value


def in_edition(config: C, edition: int) -> C:
    """What the command that gave `config` would have given in an earlier edition.

    A setting that has its present default gets the one it had then: nothing tells whether it was typed.
    """
    changes: dict[str, object] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changes[field.name] = in_edition(value, edition)
        elif field.metadata.get("was") and value == default_in(field, _NOW):
            changes[field.name] = default_in(field, edition)
    return dataclasses.replace(config, **changes)


def changed_in(config: "DataclassInstance") -> set[int]:
    """The editions in which some default of these settings changed."""
    editions: set[int] = set()
    for field in dataclasses.fields(config):
        editions |= set(field.metadata.get("was", {}))
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            editions |= changed_in(value)
    return editions


_NOW = 1_000_000  # later than every edition
