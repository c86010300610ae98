"""Words that a command takes over from an earlier run which it names, such as the data of a search."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..runs.folder import is_begun
from ..stages import AnyStage
from .children import as_child
from .validate import Checked, check

__all__ = ["inherited_by", "joined", "without"]

_KEPT = (
    "begun before settings were taken over with a genotype, and goes on without them; run.fresh=true, or "
    "another run.name, takes them over"
)
_SHOWING = ("--help", "-h", "--hydra-help", "--shell-completion", "-sc")


class Inherited(NamedTuple):
    """What an earlier run adds to a command line, and the line that tells it; neither where there is nothing."""

    words: list[str]
    note: str


def inherited_by(stage: AnyStage, words: Sequence[str]) -> Inherited:
    """What the earlier run adds to `words`, which are those that were typed.

    A run that was begun by the same words when nothing was taken over goes on without, and keeps its name; one of the
    present kind comes first. Raises SupernetError for mistakes.
    """
    if any(word in _SHOWING for word in words) or not (more := stage.inherited(words)):
        return Inherited([], "")
    alone = stage.overrides(words)
    both = joined(alone, more)
    checked = check(stage, both)
    if checked.runs and not _begun(stage, checked, both, more) and _begun(stage, check(stage, alone), alone, []):
        return Inherited([], _KEPT)
    shown = " ".join(word.lstrip("+") for word in more)
    return Inherited(more, f"taken over with the genotype: {shown}; what is typed wins")


def joined(words: Sequence[str], more: Sequence[str]) -> list[str]:
    """`more` in front of the first override among `words`: behind an option they would be taken for a part of it."""
    first = next((i for i, word in enumerate(words) if "=" in word and not word.startswith("-")), len(words))
    return [*words[:first], *more, *words[first:]]


def without(line: Sequence[str], more: Sequence[str]) -> list[str]:
    """The overrides of `line` but for those of `more`, however Hydra writes their values."""
    keys = {word.partition("=")[0] for word in more}
    return [word for word in line if word.partition("=")[0] not in keys]


def _begun(stage: AnyStage, checked: Checked, words: Sequence[str], more: Sequence[str]) -> bool:
    """Whether there is a run of one of these settings."""
    if stage.label is None:
        return False
    config: Any
    for config, line in zip(checked.configs, checked.lines, strict=True):
        if checked.sweeps:
            config = as_child(stage, config, without(line, more), words)
        label = stage.label(config)
        if is_begun(config, stage.name, label.text, prefix=label.prefix):
            return True
    return False
