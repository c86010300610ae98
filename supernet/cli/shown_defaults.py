"""Defaults that depend on the data set, as `--cfg job` shows them: `pad: 4 (default)` where data.pad is not set.

What is shown may be pasted into a YAML file: it is read as not set again, so that the run keeps its name.
"""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..data.standard import STANDARD, entry_of

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
    row = STANDARD.get(entry_of(name)) if isinstance(name, str) else None
    if row is None:
        return {}
    return {"flip": FLIPS[row["flip"]] + MARK, "pad": f"{row['pad']}{MARK}", "cutout": f"{row['cutout']}{MARK}"}
