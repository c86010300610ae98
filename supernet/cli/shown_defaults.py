"""Defaults that depend on the data set, as `--cfg job` shows them: `pad: 4 (default)` where data.pad is not set.

What is shown may be pasted into a YAML file: it is read as not set again, so that the run keeps its name.
"""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..data.standard import BY_TASK, STANDARD, entry_of

__all__ = ["show", "without_shown"]

MARK = " (default)"
FLIPS = {True: "true", False: "false", None: "true for colour, false for grey"}


def show(composed: DictConfig) -> None:
    """Puts the texts in the place of the settings of the data that are not set."""
    try:
        name = OmegaConf.select(composed, "data.name")
    except OmegaConfBaseException:
        return
    for key, text in _texts(name).items():
        if OmegaConf.select(composed, f"data.{key}") is None:
            OmegaConf.update(composed, f"data.{key}", text)


def without_shown(values: Mapping[str, object]) -> dict[str, object]:
    """Settings of the data with None in the place of the texts."""
    texts = _texts(values.get("name"))
    return {key: None if key in texts and value == texts[key] else value for key, value in values.items()}


def _texts(name: object) -> dict[str, str]:
    if not isinstance(name, str):
        return {}
    rows = BY_TASK.get(name) or {"": STANDARD[entry_of(name)]} if entry_of(name) in (*BY_TASK, *STANDARD) else {}
    columns = {
        "flip": {task: FLIPS[row["flip"]] for task, row in rows.items()},
        "pad": {task: str(row["pad"]) for task, row in rows.items()},
        "cutout": {task: str(row["cutout"]) for task, row in rows.items()},
    }
    return {key: _in_words(values) + MARK for key, values in columns.items() if values}


def _in_words(values: Mapping[str, str]) -> str:
    """The first task's value, and those of other tasks that differ: "true, false for regression"."""
    first, *_ = values.values()
    others = [f"{value} for {task}" for task, value in values.items() if value != first]
    return ", ".join([first, *others])
