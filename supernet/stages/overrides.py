"""What a stage that trains adds to the overrides of a command line before they are composed.

A space file brings its own network, so the settings of another one, which a group chooses by default, are left out:

supernet search space.file=my.yaml               the group `space` is left out, with DARTS' settings of `network`
supernet retrain genotype=runs/RUN               the group `network` is, where RUN keeps the file of a network
supernet search space=darts space.file=my.yaml   the group that is named stays, for cells in a file; the file wins
"""

import re
from collections.abc import Sequence

__all__ = ["with_unlisted", "without_group"]

UNLISTED = ("network.checkpoint",)  # in no YAML file: a default of theirs there would rename every run


def without_group(group: str, words: Sequence[str], *, needed: bool) -> list[str]:
    """`words` of a command line, with `~group` behind them where it is `needed` and no word chooses that group."""
    chosen = any(re.match(rf"[+~]*({group}|experiment)(=|$)", word) for word in words)
    return [*words, f"~{group}"] if needed and not chosen else list(words)


def with_unlisted(words: Sequence[str]) -> list[str]:
    """`words` with Hydra's mark for an addition in front of settings that no file lists."""
    return [f"++{word}" if word.partition("=")[0] in UNLISTED and "=" in word else word for word in words]
