"""A comparison as files: comparison.md, comparison.csv, runs.csv, comparison.json."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ... import files
from ...evaluate.paired import LEVEL, Difference
from .summary import Entry, RowResult

__all__ = ["as_markdown", "difference", "write_tables"]

FOOT = f"""\
Random cells have the parameters of the method in their line, within the tolerance above; each seed has its own.
Scores are paired by their seed. A difference is the mean over the pairs with its {100 * LEVEL:g} % interval by
Student's t; **within noise** says that the interval covers 0. The intervals are not widened for the number of lines: of
twenty differences that are none, one lies outside by chance. The best of k is no mean, it grows with k. Seconds are
those of all seeds together.
"""


def write_tables(folder: Path, results: Sequence[RowResult]) -> None:
    """All four, each whole or absent."""
    files.write_text(folder / "comparison.md", as_markdown(results))
    lines = [_record(result, entry) for result in results for entry in result.entries]
    files.write_text(folder / "comparison.csv", as_csv(lines))
    files.write_text(folder / "runs.csv", as_csv([{"row": r.name, **run} for r in results for run in r.runs]))
    rows = [{**asdict(result), "entries": [_record(result, e) for e in result.entries]} for result in results]
    files.write_json(folder / "comparison.json", {"schema": 1, "rows": rows})


def as_markdown(results: Sequence[RowResult]) -> str:
    """A section a row, with its budget and what must be known of it."""
    parts = ["# Comparison\n"]
    for result in results:
        title = f"{result.name}: " if result.name else ""
        better = "larger" if result.maximise else "smaller"
        parts.append(f"## {title}space {result.space}\n")
        budget = "; ".join(f"{key} {value}" for key, value in result.about.items())
        parts.append(f"The score is {result.metric}, {better} is better. {budget}.\n")
        lines = [_cells(entry) for entry in result.entries]
        head = _head(result)
        parts.append("\n".join(_row(line) for line in (head, ["---"] * len(head), *lines)) + "\n")
        parts += ["\n".join(f"- {note}" for note in result.notes) + "\n"] if result.notes else []
    return "\n".join([*parts, FOOT])


def as_csv(records: Sequence[Mapping[str, object]]) -> str:
    """One line a record, all columns of all records."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def difference(one: Difference | None) -> str:
    """`+0.0021 [-0.0040, +0.0082] within noise`."""
    if one is None:
        return "-"
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.4f}, {one.high:+.4f}]"
    verdict = one.verdict
    return f"{one.mean:+.4f}{interval} {f'**{verdict}**' if verdict == 'within noise' else verdict}"


def _head(result: RowResult) -> list[str]:
    first = result.entries[0].name if result.entries else "the first"
    random = [
        f"median of {result.random} random cells",
        f"best of {result.random} random cells",
        "to the random median",
    ]
    return ["", "mean", "spread", "best", "parameters", *random, f"to {first}", "search s", "retraining s"]


def _cells(entry: Entry) -> list[str]:
    searched, beside = entry.kind == "method", entry.random_parameters
    parameters = f"{entry.parameters:,.0f}" + ("" if beside is None else f" (random {beside:,.0f})")
    return [
        entry.name, f"{entry.mean:.4f}", _number(entry.spread), f"{entry.best:.4f} (best of {len(entry.scores)})",
        parameters, _number(entry.random_median), _number(entry.random_best),
        difference(entry.to_random), difference(entry.to_first), f"{entry.search_seconds:.0f}" if searched else "-",
        f"{entry.retrain_seconds:.0f}",
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _record(result: RowResult, entry: Entry) -> dict[str, object]:
    """Plain values by column."""
    record: dict[str, object] = {
        "row": result.name, "name": entry.name, "kind": entry.kind, "metric": result.metric, "seeds": len(entry.scores),
        "mean": entry.mean, "spread": entry.spread, "best_of_seeds": entry.best, "parameters": entry.parameters,
        "random_cells": result.random, "random_parameters": entry.random_parameters,
        "random_median": entry.random_median, "best_of_random": entry.random_best,
        "search_seconds": entry.search_seconds, "retrain_seconds": entry.retrain_seconds,
    }  # fmt: skip
    for name, one in (("to_random_median", entry.to_random), ("to_first", entry.to_first)):
        if one is not None:
            record |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_pairs": one.pairs}
            record[f"{name}_verdict"] = one.verdict
    return record
