"""Settings of the search space."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["SpaceConfig"]


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """A search space by its registered name, with the arguments of its factory, or by a YAML file, which wins."""

    name: str = "darts"  # a registered space
    args: dict[str, Any] = field(default_factory=dict)  # arguments of the space, such as nodes
    file: str | None = None  # a YAML file of a space of one's own, in place of a name
    allow: list[str] = field(default_factory=list)  # prefixes of import paths whose classes the file may name
