"""What makes two runs the same: the settings that change the numbers, as one canonical JSON text and its SHA-256.

Left out are paths (`data.root`, `data.download`, `data.workers`, the path of the genotype), how it is run (`device`,
`capture`, `data.resident`), and `run`, `checkpoint`, `log` and `guard`. Data with a registered name are identified by
that name, wherever they lie. Data that only a path names (an image folder) are identified by the last component of the
path: two copies of one folder are the same run. Whether what lies there is the same is no part of the identity either:
`same_data.py` compares it where a run is found.

The identity of a run survives the growth of the settings (`config/editions.py`):

    a setting that is new    counts only where it is not at the default that it came with, under which all is as it was
                             before there was such a setting; so no run of before gets another name
    a setting that goes      counts for ever with the one value it always had (RETIRED); one that had several values
                             cannot go: its runs could not be made again
    a default that changes   changes the identity of the same command, since the numbers change. The earlier run is
                             found all the same: `editions_of` gives the command's settings as they were in each
                             edition, and `folder.as_begun` goes on with those under which there is a run. A value that
                             was typed and equals the present default cannot be told from the default; run.fresh=true,
                             or another run.name, begins anew with the present ones
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from ..config import DataConfig, RunConfig
from ..config.editions import changed_in, default_in, in_edition, since
from ..errors import SupernetError
from ..files import JSON
from .names import data_label

__all__ = ["RunSettings", "as_json", "differences", "editions_of", "identity"]

NOT_IDENTITY = ("device", "capture", "run", "checkpoint", "log", "guard")
NOT_IDENTITY_OF_DATA = ("root", "labels", "download", "workers", "resident")
# Settings that are no more, each with the one value it ever had: group -> name -> value.
RETIRED: Mapping[str, Mapping[str, JSON]] = {"method": {"discretiser": None}}


class _Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # as typeshed has it


class RunSettings(_Settings, Protocol):
    """The dataclass of a stage whose runs have folders; what else it has is the stage's own."""

    @property
    def seed(self) -> int: ...

    @property
    def data(self) -> DataConfig: ...

    @property
    def run(self) -> RunConfig: ...


S = TypeVar("S", bound=RunSettings)


def identity(config: RunSettings, stage: str, label: str | None = None) -> tuple[dict[str, JSON], str]:
    """The settings that change the numbers of a run, as JSON values, and 8 hex digits of their SHA-256.

    `label` stands for what is trained where the configuration names it by a path, or not at all: the hash or the
    published name of a genotype (needed where the configuration has a field `genotype`), a user's own space. Raises
    SupernetError for values that JSON does not know.
    """
    values: dict[str, object] = {"stage": stage, **_counting(config)}
    for key in NOT_IDENTITY:
        values.pop(key, None)
    if "genotype" in values:
        if not label:
            raise SupernetError(f"a run of stage {stage} needs the label of its genotype: its hash or published name")
        del values["genotype"]
    values.pop("allow", None)
    if isinstance(space := values.get("space"), dict):  # a file is known by its content, which is in the label
        named = {key: value for key, value in space.items() if key not in ("file", "allow")}
        values["space"] = {} if space.get("file") else named
    if label:
        values["label"] = label
    if isinstance(data := values.get("data"), dict):
        own = {key: value for key, value in data.items() if key not in NOT_IDENTITY_OF_DATA}
        values["data"] = own | {"name": data_label(config.data)}
    for group, retired in RETIRED.items():
        if isinstance(settings := values.get(group), dict):
            values[group] = {**retired, **settings}
    if isinstance(method := values.get("method"), dict):
        values["method"] = {key: _part(value) for key, value in method.items()}
    canonical = {key: as_json(value, key) for key, value in values.items()}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return canonical, hashlib.sha256(text.encode()).hexdigest()[:8]


def editions_of(config: S) -> Iterator[S]:
    """The settings that the same command gives now, and before each change of a default, the latest change first."""
    yield config
    for edition in sorted(changed_in(config), reverse=True):
        yield in_edition(config, edition - 1)


def differences(old: Mapping[str, JSON], new: Mapping[str, JSON], config: RunSettings) -> dict[str, str]:
    """The settings in which two identities differ, by their dotted names, each with a text such as `1 -> 2`.

    A setting that one of them leaves out, because it came later, has the default that it came with in `config`.
    """
    missing = {name: as_json(value, name) for name, value in _later_defaults(config)}
    was, now = missing | _flat(dict(old)), missing | _flat(dict(new))
    names = [*(name for name in now if name not in missing), *(name for name in was if name not in now), *missing]
    pairs = {name: (was.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names}
    return {
        name: f"{_shown(before)} -> {_shown(after)}"
        for name, (before, after) in pairs.items()
        if before != after or type(before) is not type(after)
    }


def as_json(value: object, where: str) -> JSON:
    """1.0 and 1 are one value, a tuple is a list, keys are text: what is equal for a run has one JSON text."""
    if isinstance(value, dict):
        return {str(key): as_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item, f"{where}.{i}") for i, item in enumerate(value)]
    if isinstance(value, float) and value - value == 0:  # finite
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise SupernetError(f"{where}={value!r} must be a plain finite number, text, list or mapping")


def _counting(config: _Settings) -> dict[str, object]:
    """The settings as nested dictionaries, without those that are later ones at the default that they came with."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if since(field) > 1 and value == default_in(field, since(field)):
            continue
        values[field.name] = (
            _counting(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        )
    return values


def _later_defaults(config: _Settings, where: str = "", later: bool = False) -> Iterator[tuple[str, object]]:
    """(dotted name, the default that it came with) of every single setting that is not of the first edition."""
    for field in dataclasses.fields(config):
        name, new = where + field.name, later or since(field) > 1
        value = default_in(field, since(field)) if new else getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _later_defaults(value, f"{name}.", new)
        elif new:
            yield from _flat(value, name).items()


def _part(value: object) -> object:
    """A part of a method without arguments is its name, in whichever way it was written."""
    return value["name"] if isinstance(value, dict) and set(value) == {"name"} else value


def _flat(value: object, where: str = "") -> dict[str, object]:
    """Nested dictionaries as one with dotted names; an empty one is a value."""
    if not isinstance(value, dict):
        return {where: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{where}.{key}" if where else key).items()}


class _Absent:
    """Stands for a setting that is not there."""


_ABSENT = _Absent()


def _shown(value: object) -> str:
    text = "(unset)" if value is _ABSENT else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
