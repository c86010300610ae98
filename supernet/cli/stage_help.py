"""The help of a stage with settings: its parts with their options, and what each setting is for. Loads neither torch
nor, without a folder of one's own, Hydra."""

import textwrap
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import pairwise

import yaml

from ..config.explain import explained
from ..presets import preset_names
from ..stages import STAGES, AnyStage

__all__ = ["asks_for_help", "groups_of", "stage_help"]

WIDTH = 110
FOOTER = """\
Change a setting with key=value, choose a part with group=option; `+key=value` adds one that is not listed.
--cfg job shows the composed settings, -m sweeps over comma-separated values, -cd FOLDER adds your own YAML files."""


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a command line asks what there is, in place of running."""
    return any(word in ("-h", "--help", "help") for word in words)


def stage_help(stage: AnyStage, words: Sequence[str] = ()) -> str:
    """The text; options of the folder that `words` name with -cd are listed too."""
    assert stage.config is not None
    lines = [f"supernet {stage.name}: {stage.help}", "", f"  {stage.example}"]
    if groups := groups_of(stage.name):
        lines += ["", "Parts: choose one with group=option", ""]
        for group in groups:
            lines += _wrapped(f"  {group}", ", ".join(_options(stage.name, group, _folder(words))))
    lines += ["", "Settings: change one with key=value; the value behind a name is its default", ""]
    settings = list(explained(stage.config))
    for setting in settings:
        lines += _wrapped(f"  {setting.name}={setting.default}", setting.text)
    return "\n".join([*lines, "", FOOTER])


def groups_of(stage: str) -> list[str]:
    """The groups of parts that a stage takes, from the defaults at the head of its YAML file."""
    path = files("supernet.conf") / f"{stage}.yaml"
    if not path.is_file():  # a stage of one's own, whose file is in a folder of one's own
        return []
    entries = yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", [])
    names = [name for entry in entries if isinstance(entry, dict) for name in entry]
    return [name for name in names if "/" not in name]


def _options(stage: str, group: str, folder: str | None) -> list[str]:
    names = preset_names(group)
    if folder is not None:
        from .settings import loader_for, register

        register()
        names = loader_for(folder).get_group_options(group)
    others = tuple(f"_{name}" for name in STAGES if name != stage)
    return [name for name in names if group != "experiment" or not name.endswith(others)]


def _folder(words: Sequence[str]) -> str | None:
    return next((value for word, value in pairwise(words) if word in ("-cd", "--config-dir")), None)


def _wrapped(name: str, text: str) -> Iterator[str]:
    """A name and its text beside it, over as many lines as they need."""
    first = f"{name:<34}  " if len(name) <= 34 else f"{name}\n{'':36}"
    if not text:
        return iter([name])
    body = textwrap.wrap(text, WIDTH - 36) or [""]
    return iter([first + body[0], *(f"{'':36}{line}" for line in body[1:])])
