"""Named groups of settings: the YAML files of `supernet.conf`, read without Hydra for use in notebooks."""

from importlib.resources import files
from typing import Any

import yaml

from .errors import SupernetError, unknown

__all__ = ["preset", "preset_names"]


def preset_names(group: str) -> list[str]:
    """The names in a group ("method", "recipe", ...), sorted."""
    folder = files("supernet.conf") / group
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def preset(group: str, name: str) -> dict[str, Any]:
    """The settings of `group=name`; raises SupernetError for an unknown name."""
    names = preset_names(group)
    if name not in names:
        raise SupernetError(unknown(group, name, names))
    found = yaml.safe_load((files("supernet.conf") / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(found or {})
