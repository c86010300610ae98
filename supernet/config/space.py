"""Settings of the search space."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["SpaceConfig"]


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """A search space by its registered name, with the arguments of its factory, or by a YAML file, which wins."""

    name: str = "darts"
    args: dict[str, Any] = field(default_factory=dict)
    file: str | None = None
    allow: list[str] = field(default_factory=list)  # prefixes of import paths whose classes the file may name
