"""What the run folders of a sweep are called: by the settings in which they differ, so that the same sweep finds them.

Words that all runs of a sweep share, such as `+cluster=joblib` or `epochs=3`, do not name them; where such a word makes
another run of one that is there already, the new one has the digest of its settings behind its name. Folders of earlier
versions, which all words named, are found again.
"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ..files import slug
from ..runs.folder import is_begun
from ..runs.identity import identity
from ..stages import AnyStage

__all__ = ["as_child", "child_name"]

# Overrides that never name a child, because they change no number.
_NOT_NAMING = re.compile(r"[+~]*(run|device|checkpoint|log|guard|hydra)([./=]|$)|data\.(root|download|workers)=")
_NO_NUMBER = re.compile(r"[+~]*(cluster|capture|allow|space\.allow|data\.resident)=")


def child_name(stage: str, overrides: Sequence[str]) -> str:
    """The folder of a child by its overrides, sorted; letters that a name should not have become a digest."""
    naming = sorted(line for line in overrides if not _NOT_NAMING.match(line))
    text = "-".join([stage, *naming])
    name = slug(text, len(text))
    if name == text.replace("=", "-") and len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def as_child(stage: AnyStage, config: Any, overrides: Sequence[str], words: Sequence[str]) -> Any:
    """`config` with the name of its run folder as one of a sweep, where the stage has run folders and none is set.

    `overrides` are the child's own, `words` those of the whole sweep.
    """
    if stage.label is None or config.run.name is not None:
        return config
    label = stage.label(config)
    digest = identity(config, stage.name, label.text)[1]
    plain = [line for line in overrides if not _NO_NUMBER.match(line)]
    shared = _shared(words)
    present = child_name(stage.name, [line for line in plain if line.partition("=")[0] not in shared] or plain)
    long = f"{present}-{digest}"
    for name in (present, long, child_name(stage.name, overrides), child_name(stage.name, plain)):
        child = replace(config, run=replace(config.run, name=name))
        if is_begun(child, stage.name, label.text, prefix=label.prefix):
            return child
    there = (Path(config.run.root).expanduser() / present).exists() and not config.run.fresh
    return replace(config, run=replace(config.run, name=long if there else present))


def _shared(words: Sequence[str]) -> set[str]:
    """The keys, with their marks, that have one value in all runs of a sweep; options among the words are none."""
    parser, shared = OverridesParser.create(), set()
    for word in words:
        with contextlib.suppress(HydraException):
            override = parser.parse_override(word)
            if not override.is_sweep_override():
                shared.add(override.get_key_element())
    return shared
