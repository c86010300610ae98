"""Writing report.html of folders that are named, and what the network costs, which the page shows."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ... import files
from ...errors import SupernetError
from ...report.page import write_page
from ...report.page.subject import drawn_genotype, space_of_run
from ...runs.folder import RunFolder
from ...runs.reading import COST, read_run
from ...space import Space

__all__ = ["keep_cost", "report", "write_page"]

log = logging.getLogger(__name__)


def report(runs: Sequence[str], allow: Sequence[str] = ()) -> list[Path]:
    """Writes the pages of these run folders; their paths. Raises SupernetError where one is none."""
    written = []
    for name in runs:
        run = RunFolder.existing(name)
        try:
            if run.finished and not (run.path / COST).exists():
                keep_cost(run.path, None, allow)
            written.append(write_page(run.path, None, allow))
        except OSError as error:
            raise SupernetError(f"cannot write into {run.path}: {error.strerror or error}") from None
    return written


def keep_cost(folder: Path, space: Space | None, allow: Sequence[str] = ()) -> None:
    """Writes cost.json where the parameters and FLOPs can be counted."""
    run = read_run(folder, history=False)
    space, genotype = space or space_of_run(run, allow), drawn_genotype(run)
    if space is None or genotype is None:
        return
    from .cost import cost_of

    try:
        files.write_json(folder / COST, cost_of(run, space, genotype))
    except SupernetError as error:  # arguments that a network takes in a search alone, or data without a size
        log.debug("the cost was not counted: %s", error)
