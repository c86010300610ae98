"""Words that a command takes over from an earlier run which it names, such as the data of a search."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from ..runs.folder import is_begun
from ..stages import AnyStage
from .children import as_child
from .exit_codes import one_line
from .validate import Checked, check

__all__ = ["inherited_by", "joined", "without"]

_SHOWING = ("--help", "-h", "--hydra-help", "--shell-completion", "-sc")


def inherited_by(stage: AnyStage, words: Sequence[str]) -> list[str]:
    """What the earlier run adds to `words`, which one line tells.

    A run that was begun by the same words when nothing was taken over goes on without, and keeps its name; one of the
    present kind comes first. Raises SupernetError for mistakes.
    """
    if any(word in _SHOWING for word in words) or not (more := stage.inherited(words)):
        return []
    both = joined(words, more)
    checked = check(stage, both)
    if not checked.runs:
        return more
    if not _begun(stage, checked, both, more) and _begun(stage, check(stage, words), words, []):
        _say("begun before settings were taken over from the genotype's run: goes on without them; run.fresh=true or "
             "another run.name takes them over")  # fmt: skip
        return []
    _say(f"taken over from the genotype's run: {' '.join(word.lstrip('+') for word in more)}; what is typed wins")
    return more


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


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # under torchrun one tells
        print(one_line(text), file=sys.stderr, flush=True)
