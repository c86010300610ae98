"""What becomes of a stage once its settings are known, and what is printed at the end.

A finished run is found before torch is loaded: it prints its result and is done.
"""

import os
from collections.abc import Mapping

from ..errors import printable
from ..stages import AnyStage

__all__ = ["perform", "prepare"]


def prepare(stage: AnyStage, config: object) -> None:
    """Raises SupernetError for what can be known to be wrong without torch: the space, the genotype, the run folder."""
    stage.check(config)
    stage.finished(config)


def perform(stage: AnyStage, config: object) -> float | None:
    """Run the stage or find it finished, print its result, and return what a sweep may optimise."""
    stage.check(config)
    result = stage.found(config) or stage.run(config)
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank comes here, and one tells
        rows = dict(stage.rows(result))
        if stage.next is not None:
            rows["next"] = stage.next(result)
        _table(rows)
    return None if stage.score is None else stage.score(result)


def _table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows), default=0) + 2
    for name, value in rows.items():
        print(printable(f"{name:{width}}{value}"))
