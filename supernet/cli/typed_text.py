"""What is typed for a setting that is text stays that text: a folder called 1.10, 1e3, true or données.

Hydra's grammar reads some of these as numbers, and refuses others; here they get its quotation marks. What it reads as
text stays as it is, and so does 2024, which becomes text again by itself: names of runs of a sweep hold such words.
"""

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ..stages import AnyStage
from ..stages.next_command import word
from .stage_help import groups_of

__all__ = ["as_text"]

# Values in Hydra's own grammar: lists, mappings, marks, interpolations, functions such as range(1,3).
_GRAMMAR = re.compile(r"""['"\[\]{}$]|^\w+\(""")


def as_text(stage: AnyStage, words: Sequence[str]) -> list[str]:
    """The words of a command line of `stage`, with marks around text that Hydra would not read as that text."""
    # What may stand unmarked, though it is no text to Hydra: whole numbers as Python writes them, but for a group, and
    # null where a setting may be unset.
    usual: dict[str, tuple[type, ...]] = {}
    for group in groups_of(stage.name):
        usual[group] = (types.NoneType,)
    for key, may_be_null in _texts(stage.config):
        usual[key] = (int, types.NoneType) if may_be_null else (int,)
    return [_marked(text, usual) for text in words]


def _marked(text: str, usual: Mapping[str, tuple[type, ...]]) -> str:
    key, _, value = text.partition("=")
    kinds = usual.get(key.lstrip("+"))
    if kinds is None or not value or _GRAMMAR.search(value):
        return text
    parts = [part.strip() for part in value.split(",")]  # several in a sweep
    marked = [part if _is_read(part, kinds) else word("k", part).removeprefix("k=") for part in parts]
    return text if marked == parts else f"{key}={','.join(marked)}"


def _is_read(text: str, kinds: tuple[type, ...]) -> bool:
    """Whether Hydra reads `text` as that text, or as a value of one of `kinds` that becomes it again."""
    try:
        value = OverridesParser.create().parse_override(f"k={text}").value()
    except HydraException:
        return False
    return isinstance(value, str) or (type(value) in kinds and (value is None or str(value) == text))


def _texts(config: type | None, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """The settings that are text, by their dotted names, and whether they may be null."""
    for name, kind in typing.get_type_hints(config).items() if config is not None else ():
        if isinstance(kind, type) and is_dataclass(kind):
            yield from _texts(kind, f"{prefix}{name}.")
            continue
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if str in options and set(options) <= {str, types.NoneType}:
            yield f"{prefix}{name}", types.NoneType in options
