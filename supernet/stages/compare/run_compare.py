"""A comparison as a function: search with every method and seed, score what they found and the controls, write it down.

Every search and retraining is an ordinary run folder, which is found where it has ended. So the comparison has no state
of its own, and the same command goes on wherever it was stopped.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...config import DataConfig, RunConfig
from ...errors import StoppedError, SupernetError
from ...evaluate.binding import read_binding
from ...evaluate.signatures import signatures
from ...evaluate.table import Table
from ...files import slug
from ...report.comparison import Panel, draw_scores, draw_signatures
from ...report.files import save
from ...runs.folder import RunFolder
from ...runs.identity import identity
from ...runs.names import data_label
from ..search import STAGE as SEARCH
from ..space_config import label_of
from ..stage import Read
from .config import CompareConfig
from .plan import Row, planned
from .referee import check, compared
from .summary import RowResult
from .tables import as_csv, write_tables

__all__ = ["run_compare"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """What makes two comparisons the same; `seed` and `data` are what every run folder has."""

    run: RunConfig
    data: DataConfig
    seed: int = 0
    seeds: list[int] = field(default_factory=list)
    searches: dict[str, str] = field(default_factory=dict)  # row/method -> identity of its search at seed 0
    retrainings: dict[str, str] = field(default_factory=dict)  # row -> words
    settings: dict[str, object] = field(default_factory=dict)


def run_compare(config: CompareConfig, read: Read) -> RunFolder:
    """The folder of the comparison, with its tables and plots.

    Raises StoppedError, once the tables hold all that there is, where runs have failed; SupernetError for mistakes.
    """
    rows = planned(config, read)
    for row in rows:
        check(row)
    space = rows[0].base.space
    label = (label_of(space) or space.name) if len(rows) == 1 else f"{len(rows)}-rows"
    prefix = f"compare-{slug(label)}-{slug(data_label(rows[0].base.data))}"
    with RunFolder.open(_identified(config, rows), "compare", prefix=prefix, lock=True) as folder:
        log.info("comparison: %s", folder.path)
        results: list[RowResult] = []
        failures: list[tuple[str, bool]] = []
        for row in rows:
            result, failed = compared(config, row, folder.path)
            results.append(result)
            failures += failed
            _write(folder.path, results)
        if failures:
            raise _stopped(failures, folder.path)
        folder.finish({"metrics": {}, "rows": [result.name for result in results]})
        return folder


def _identified(config: CompareConfig, rows: Sequence[Row]) -> _Comparison:
    searches: dict[str, str] = {}
    for row in rows:
        for method, one in row.methods.items():
            settings, _ = one.at(0)
            label = SEARCH.label(settings).text if SEARCH.label is not None else None
            searches[f"{row.name}/{method}"] = identity(settings, "search", label)[1]
    names = ("random", "tolerance", "draws", "published", "score")
    return _Comparison(
        run=config.run,
        data=rows[0].base.data,
        seeds=config.seed_list,
        searches=searches,
        retrainings={row.name: identity(row.retraining, "retrain", "any genotype")[1] for row in rows},
        settings={**{name: getattr(config, name) for name in names}, "table": _digest(config.table)},
    )


def _digest(table: str | None) -> str | None:
    """Of the content of a table, whose path says nothing."""
    if table is None:
        return None
    binding = read_binding(table)
    content = Table.content(binding) + repr(binding.metrics) + binding.score
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _write(folder: Path, results: Sequence[RowResult]) -> None:
    """Tables, the signs of collapse, and a plot of each."""
    write_tables(folder, results)
    collapse = [
        {"row": result.name, "method": run["name"], "seed": run["seed"], "epoch": epoch, **values}
        for result in results
        for run in result.runs
        if run["kind"] == "method"
        for epoch, values in signatures(Path(str(run["search"])))
    ]
    (folder / "collapse.csv").write_text(as_csv(collapse), encoding="utf-8")
    save(draw_scores([_panel(result) for result in results if result.entries]), folder / "comparison.svg")
    if collapse:
        save(draw_signatures(collapse), folder / "collapse.svg")


def _panel(result: RowResult) -> Panel:
    lines = {
        entry.name: (list(entry.scores.values()), [score for cells in entry.random.values() for score in cells])
        for entry in result.entries
    }
    return result.name or result.space, result.metric, lines


def _stopped(failures: Sequence[tuple[str, bool]], folder: Path) -> SupernetError:
    """A mistake in the settings where all runs failed by one, else a stop."""
    text = f"{len(failures)} of the runs failed, the tables in {folder} lack them; {failures[0][0]}"
    return SupernetError(text) if all(mistake for _, mistake in failures) else StoppedError(text)
