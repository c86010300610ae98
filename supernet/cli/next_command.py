"""The command that comes after a finished stage, ready to be typed: what the run was told and the next must know.

It carries the data set, the space's parts `network=` and `recipe=`, and the leave to import a space file's classes.
"""

import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

from ..presets import preset, preset_names
from ..runs.folder import RunFolder
from ..space.lookup import kept_space

__all__ = ["following", "override"]

CARRIED = ("name", "root", "image_size", "in_chans")  # of the data; how they are augmented is the recipe's affair
RETRAIN_DATA = "digits"  # the option of `data` that a retraining takes by itself


def following(stage: str, run: RunFolder) -> str:
    """The next command: after a search its retraining, after a retraining the export or what loads the network."""
    config = run.config["config"]
    if stage == "search":
        allow = [override("allow", config["space"]["allow"])] if config["space"].get("allow") else []
        words = [override("genotype", run.path), *_network(config["space"]), *_data(config["data"]), *allow]
        return f"supernet retrain {' '.join(words)}"
    if "task" not in run.result["data"] and kept_space(run.path) is None:  # images, and timm can build the network
        return f"supernet export {override('run', run.path)}"
    leave = f", allow={json.dumps(config['allow'])}" if config.get("allow") else ""
    load = f"model = load({json.dumps(str(run.path))}{leave})"
    return f"python -c {shlex.quote(f'from supernet.exporting import trained_network as load; {load}')}"


def override(key: str, value: Any) -> str:
    """`key=value` as a shell hands it to Hydra unchanged: quoted where either of them would read marks in it."""
    return shlex.quote(f"{key}={_value(value)}")


def _network(space: Mapping[str, Any]) -> list[str]:
    """The parts that a space needs where the defaults of retraining are another's."""
    if space.get("file"):
        return []
    return [override(part, space["name"]) for part in ("network", "recipe") if space["name"] in preset_names(part)]


def _data(data: Mapping[str, Any]) -> list[str]:
    """The option of `data` that the search took, and what it set otherwise than that option does."""
    option = _option(data)
    usual = preset("data", option)
    words = [] if option == RETRAIN_DATA else [override("data", option)]
    words += [override(f"data.{key}", data.get(key)) for key in CARRIED if data.get(key) != usual.get(key)]
    given, known = data.get("kwargs") or {}, usual.get("kwargs") or {}
    for key, value in given.items():
        if key not in known:
            words.append(override(f"+data.kwargs.{key}", value))
        elif value != known[key]:
            words.append(override(f"data.kwargs.{key}", value))
    return words


def _option(data: Mapping[str, Any]) -> str:
    """A name such as torch/cifar10 is no option; it was set on top of the one whose arguments are all there."""
    options = preset_names("data")
    if data["name"] in options:
        return str(data["name"])
    keys = (data.get("kwargs") or {}).keys()
    wanted = {option: (preset("data", option).get("kwargs") or {}).keys() for option in options}
    return next((option for option, needs in wanted.items() if needs and needs <= keys), RETRAIN_DATA)


def _value(value: Any) -> str:
    """`value` in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    text = os.fspath(value)
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
