"""The words of a command that comes after a finished stage, ready to be typed, from the settings of its run."""

import json
import os
import shlex
from collections.abc import Mapping

from ..presets import preset, preset_names

__all__ = ["data_words", "network_words", "override"]

CARRIED = ("name", "root", "image_size", "in_chans")  # of the data; how they are augmented is the recipe's affair
RETRAIN_DATA = "digits"  # the option of `data` that a retraining takes by itself


def override(key: str, value: object) -> str:
    """`key=value` as a shell hands it to Hydra unchanged: quoted where either of them would read marks in it."""
    return shlex.quote(f"{key}={_value(value)}")


def network_words(space: Mapping[str, object]) -> list[str]:
    """The parts that a space needs where the defaults of retraining are another's."""
    if space.get("file"):
        return []
    return [override(part, space["name"]) for part in ("network", "recipe") if space["name"] in preset_names(part)]


def data_words(data: Mapping[str, object]) -> list[str]:
    """The option of `data` that the search took, and what it set otherwise than that option does."""
    option = _option(data)
    usual = _preset(option)
    words = [] if option == RETRAIN_DATA else [override("data", option)]
    words += [override(f"data.{key}", data.get(key)) for key in CARRIED if data.get(key) != usual.get(key)]
    arguments, usual_arguments = _group(data, "kwargs"), _group(usual, "kwargs")
    for key, value in arguments.items():
        if key not in usual_arguments:
            words.append(override(f"+data.kwargs.{key}", value))
        elif value != usual_arguments[key]:
            words.append(override(f"data.kwargs.{key}", value))
    return words


def _option(data: Mapping[str, object]) -> str:
    """A name such as torch/cifar10 is no option; it was set on top of the one whose arguments are all there."""
    options = preset_names("data")
    if data["name"] in options:
        return str(data["name"])
    keys = _group(data, "kwargs").keys()
    needed = {option: _group(_preset(option), "kwargs").keys() for option in options}
    return next((option for option, needs in needed.items() if needs and needs <= keys), RETRAIN_DATA)


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
    inner = text.replace('"', '\\"')
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
