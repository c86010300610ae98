"""Named groups of settings: the YAML files of `supernet.conf`, read without Hydra for use in notebooks."""

from collections.abc import Mapping
from importlib.resources import files

import yaml

from .errors import SupernetError, unknown

__all__ = ["merged", "preset", "preset_names"]


def preset_names(group: str) -> list[str]:
    """The names in a group ("method", "recipe", ...), sorted."""
    folder = files("supernet.conf") / group
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def preset(group: str, name: str) -> dict[str, object]:
    """The settings of `group=name`, from the top: of a recipe those below `recipe`, of a method any that it sets.

    Raises SupernetError for an unknown name.
    """
    names = preset_names(group)
    if name not in names:
        raise SupernetError(unknown(group, name, names))
    text = (files("supernet.conf") / group / f"{name}.yaml").read_text(encoding="utf-8")
    values = dict(yaml.safe_load(text) or {})
    return values if text.startswith("# @package _global_") else {group: values}


def merged(*layers: Mapping[str, object]) -> dict[str, object]:
    """Settings on top of each other, the later ones win; groups are merged key by key."""
    result: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                value = merged(below, value)
            result[key] = value
    return result
