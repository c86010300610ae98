"""What becomes of a stage once its settings are known, and what is printed at the end.

A finished run is found before torch is loaded: it prints its result and is done.
"""

import os
from collections.abc import Mapping, Sequence

from ..errors import printable
from ..runs.folder import RunFolder
from ..stages import STAGES, AnyStage

__all__ = ["perform", "prepare", "read"]


def prepare(stage: AnyStage, config: object) -> None:
    """Raises SupernetError for what can be known to be wrong without torch: the space, the genotype, the run folder."""
    stage.check(config)
    stage.finished(config)


def perform(stage: AnyStage, config: object) -> float | None:
    """Run the stage or find it finished, print its result, and return what a sweep may optimise."""
    stage.check(config)
    earlier = stage.found(config)
    result = earlier
    if result is None:
        result = stage.run(config) if stage.run_with is None else stage.run_with(config, read)
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank comes here, and one tells
        rows = dict(stage.rows(result))
        if stage.next is not None:
            rows["next"] = stage.next(result)
        lines = [printable(line) for line in _table(rows)]
        print(*lines, sep="\n", end="\n" if lines else "")
        if earlier is None and isinstance(result, RunFolder):
            _keep(result, lines)
    return None if stage.score is None else stage.score(result)


def read(name: str, words: Sequence[str]) -> tuple[object, ...]:
    """The settings that `words` give the stage `name`, one for each run; raises SupernetError for mistakes."""
    from .settings import register
    from .typed_text import as_text
    from .validate import check

    stage = STAGES[name]
    register()
    return check(stage, stage.overrides(as_text(stage, words))).configs


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows), default=0) + 2
    return [f"{name:{width}}{value}" for name, value in rows.items()]


def _keep(run: RunFolder, lines: Sequence[str]) -> None:
    """What was printed at the end of a run ends its run.log too."""
    run.begin_texts()
    for line in lines:
        if run.texts is not None:
            run.texts.write(line)
    run.end_texts()
