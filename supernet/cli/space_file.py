"""A space file brings its own network: the group's settings for another one are then left out.

supernet search space.file=my.yaml               the group `space` is left out, with DARTS' settings of `network`
supernet retrain genotype=runs/RUN               the group `network` is, where RUN keeps the file of a network
supernet search space=darts space.file=my.yaml   keeps the group's `network`, for cells in a file; the file wins

And `network.checkpoint` is open without being listed: a default of it in YAML would rename every run.
"""

import re
from collections.abc import Sequence

from ..errors import SupernetError
from ..space.lookup import kept_space

__all__ = ["with_space_file"]

_FILE = re.compile(r"\+{0,2}space\.file=(?!null$|$)")
_GENOTYPE = re.compile(r"""\+{0,2}genotype=["']?(.+?)["']?""")


def with_space_file(stage: str, argv: Sequence[str]) -> list[str]:
    """`argv`, with one override more where a space file needs it, and as Hydra takes them."""
    argv = [f"++{line}" if line.startswith("network.checkpoint=") else line for line in argv]
    group = {"search": "space", "retrain": "network"}.get(stage)
    if group is None or any(re.match(rf"[+~]*({group}|experiment)(=|$)", line) for line in argv):
        return list(argv)
    if stage == "search":
        needed = any(_FILE.match(line) for line in argv)
    else:
        found = [match[1] for line in argv if (match := _GENOTYPE.fullmatch(line))]
        needed = len(found) == 1 and _brings_network(found[0])
    return [*argv, f"~{group}"] if needed else list(argv)


def _brings_network(reference: str) -> bool:
    try:
        kept = kept_space(reference)
    except SupernetError:  # told where the stage reads it
        return False
    return kept is not None and "cells" not in kept.data
