"""Words of a command line: settings in Hydra's grammar, for a shell, and the data of an earlier run."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields

from ..config import DataConfig
from ..errors import SupernetError
from ..presets import merged, preset, preset_names

__all__ = ["data_settings", "data_words", "override", "word"]

# Not of the data, but of how one training reads, augments and cuts them. To mirror pictures or not is of the data.
OF_ONE_TRAINING = ("download", "workers", "resident", "limit", "pad", "cutout")
USUAL = "digits"  # the option of `data` where none is chosen


def override(key: str, value: object) -> str:
    """`key=value` as a shell hands it to Hydra unchanged: quoted where either of them would read marks in it."""
    return shlex.quote(word(key, value))


def word(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar; raises SupernetError for a key that is no name of a setting."""
    if not re.fullmatch(r"\+{0,2}[\w./-]+", key):
        raise SupernetError(f"{key[:60]!r} is no name of a setting")
    return f"{key}={_value(value)}"


def data_words(data: Mapping[str, object]) -> list[str]:
    """The option of `data` that a run took, and what it set otherwise than that option does, in Hydra's grammar.

    [] for data that the command line cannot name, such as arrays of a notebook.
    """
    name = str(data.get("name"))
    if "/" not in name and name not in preset_names("data"):
        return []
    option = _option(data)
    usual = {**asdict(DataConfig()), **_preset(option)}
    words = [word("data", option)]
    keys = [field.name for field in fields(DataConfig) if field.name not in (*OF_ONE_TRAINING, "kwargs")]
    words += [word(f"data.{key}", data[key]) for key in keys if key in data and data[key] != usual[key]]
    arguments, usual_arguments = _group(data, "kwargs"), _group(usual, "kwargs")
    for key, value in arguments.items():
        if key not in usual_arguments:
            words.append(word(f"+data.kwargs.{key}", value))
        elif value != usual_arguments[key]:
            words.append(word(f"data.kwargs.{key}", value))
    return words


def data_settings(data: Mapping[str, object]) -> dict[str, object]:
    """The settings below `data` of a run, for another training on them; {} for data that no settings can name."""
    name = str(data.get("name"))
    if "/" not in name and name not in preset_names("data"):
        return {}
    keys = [field.name for field in fields(DataConfig) if field.name not in OF_ONE_TRAINING]
    of_data = {key: data[key] for key in keys if key in data}
    return merged(_preset(_option(data)), of_data)


def _option(data: Mapping[str, object]) -> str:
    """A name such as torch/cifar10 is no option; it was set on top of the one whose arguments are all there."""
    options = preset_names("data")
    if data["name"] in options:
        return str(data["name"])
    keys = _group(data, "kwargs").keys()
    needed = {option: _group(_preset(option), "kwargs").keys() for option in options}
    return next((option for option, needs in needed.items() if needs and needs <= keys), USUAL)


def _preset(option: str) -> Mapping[str, object]:
    """The settings below `data` of one of its options."""
    return _group(preset("data", option), "data")


def _group(settings: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The settings below `key`; {} where there are none."""
    below = settings.get(key)
    return below if isinstance(below, Mapping) else {}


def _value(value: object) -> str:
    """`value` in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if _reads_as_itself(text):
        return text
    # Backslashes count double where a mark follows them.
    inner = re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + match[2].replace('"', '\\"'), text)
    return f'"{inner}"'


def _reads_as_itself(text: str) -> bool:
    plain = text.isascii() and bool(text) and all(c.isalnum() or c in "_./-" for c in text)
    if not plain or text.lower() in ("null", "true", "false"):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False  # a folder called 2024 is text
