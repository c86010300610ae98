"""Scores of architectures from a CSV, bound to a space by a small YAML (binding.py).

table = Table.read("accuracies.csv", get_space("nas_bench_macro"))
table[genotype]                      {"test_acc": 89.2, "params": 890666.0}
table.score(genotype)                the metric by which architectures are compared
for genotype, metrics in table: ...  every row, as a point of the space
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Self

from ..errors import SupernetError, short, unknown
from ..files import read_text
from ..space import Genotype, Space
from .binding import Binding, read_binding
from .spelling import SPELLINGS

__all__ = ["Table"]

MOST_BYTES = 2**28
MOST_LISTED = 100_000  # points of a space that are listed to find those without a row
NAMED = 3  # rows that a message names

Row = tuple[float, ...]  # one number a metric


class Table:
    """The rows of one table, by points of one space. A point without a row of its own has that of an equal network."""

    def __init__(self, space: Space, binding: Binding, rows: Mapping[tuple[int, ...], Row]) -> None:
        """`rows` has the numbers of each flat vector, in the order of the binding's metrics."""
        self.space, self.binding = space, binding
        self._rows = dict(rows)
        self._equal: dict[str, Row] | None = None

    @classmethod
    def read(cls, path: str | Path, space: Space) -> Self:
        """The table `path`, a CSV with its YAML beside it or that YAML.

        Raises SupernetError in one line: for another space, for columns and numbers that are not there, for rows that
        are no points, that are there twice, or, in a table that is said to be complete, that are missing.
        """
        binding = read_binding(path)
        if binding.space != space.name:
            raise SupernetError(
                f"{path} is a table of the space {binding.space!r}, not of {space.name!r}; give space={binding.space}"
            )
        table = cls(space, binding, _rows(cls.content(binding), binding, space))
        if binding.complete and (missing := table._missing()):
            raise SupernetError(f"{binding.table} is said to be complete and lacks {missing}")
        return table

    @staticmethod
    def content(binding: Binding) -> str:
        """The text of the CSV; raises SupernetError where it cannot be read."""
        try:
            return read_text(binding.table, MOST_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SupernetError(f"cannot read the table {binding.table}: {reason}") from None

    @property
    def maximise(self) -> bool:
        """Whether a larger score is better."""
        return self.binding.maximise

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, genotype: Genotype) -> bool:
        return self._find(genotype) is not None

    def __getitem__(self, genotype: Genotype) -> dict[str, float]:
        """The metrics of the point; raises SupernetError where neither it nor an equal network has a row."""
        row = self._find(genotype)
        if row is None:
            vector = " ".join(map(str, self.space.encode(genotype)))
            raise SupernetError(
                f"{self.binding.table} has no row for genotype {genotype.hash} (encoded {short(vector)}); it has "
                f"{len(self):,} of the {self.space.size:,} points of space {self.space.name!r}"
            )
        return dict(zip(self.binding.metrics, row, strict=True))

    def __iter__(self) -> Iterator[tuple[Genotype, dict[str, float]]]:
        """(point, metrics) of each row, in the order of the file."""
        for vector, row in self._rows.items():
            yield self.space.decode(vector), dict(zip(self.binding.metrics, row, strict=True))

    def score(self, genotype: Genotype) -> float:
        """The metric by which architectures are compared; raises as `table[genotype]` does."""
        return self[genotype][self.binding.score]

    def parameters(self, genotype: Genotype) -> int | None:
        """The parameters that the table counts; None where it counts none."""
        name = self.binding.parameters
        return None if name is None else round(self[genotype][name])

    def _find(self, genotype: Genotype) -> Row | None:
        row = self._rows.get(tuple(self.space.encode(genotype)))
        if row is not None or self.space.canonical_rule is None:
            return row
        if self._equal is None:
            points = ((self.space.decode(vector), row) for vector, row in self._rows.items())
            self._equal = {self.space.canonical(point): row for point, row in points}
        return self._equal.get(self.space.canonical(genotype))

    def _missing(self) -> str:
        """The points without a row, in words; "" where there are none."""
        if self.space.size > MOST_LISTED:
            return "" if len(self) >= self.space.size else f"{self.space.size - len(self):,} points"
        vectors = map(self.space.encode, self.space.points())
        lacking = (vector for vector in vectors if tuple(vector) not in self._rows)
        named = [" ".join(map(str, vector)) for vector in islice(lacking, NAMED)]
        count = self.space.size - len(self)
        return f"{count:,} of {self.space.size:,} points: {_listed(named, count)}" if count else ""


def _rows(text: str, binding: Binding, space: Space) -> dict[tuple[int, ...], Row]:
    reader = csv.DictReader(io.StringIO(text))
    columns = [column for metric in binding.metrics.values() for column in metric.columns]
    for column in (binding.column, *columns):
        if column not in (reader.fieldnames or ()):
            raise SupernetError(f"{binding.table}: {unknown('column', column, reader.fieldnames or ())}")
    spelling = SPELLINGS[binding.spelling]
    rows: dict[tuple[int, ...], Row] = {}
    lines: dict[tuple[int, ...], int] = {}
    doubled: list[str] = []
    for fields in reader:
        where, written = f"{binding.table}, line {reader.line_num}", fields[binding.column] or ""
        try:
            vector = tuple(spelling(written, space))
            space.decode(vector)
        except SupernetError as error:
            raise SupernetError(f"{where}: {short(written)!r} is no point of space {space.name!r}: {error}") from None
        if vector in rows:
            doubled.append(f"{short(written)} (lines {lines[vector]} and {reader.line_num})")
        lines[vector] = reader.line_num
        rows[vector] = tuple(_mean(fields, metric.columns, where) for metric in binding.metrics.values())
    if doubled:
        raise SupernetError(f"{binding.table} has rows twice: {_listed(doubled[:NAMED], len(doubled))}")
    if not rows:
        raise SupernetError(f"{binding.table} has no rows")
    return rows


def _mean(fields: Mapping[str, str | None], columns: Sequence[str], where: str) -> float:
    values = []
    for column in columns:
        try:
            values.append(float(fields[column] or ""))
        except ValueError:
            raise SupernetError(f"{where}: {column} is {short(repr(fields[column]))}, and no number") from None
        if not isfinite(values[-1]):
            raise SupernetError(f"{where}: {column} is not finite")
    return sum(values) / len(values)


def _listed(named: Sequence[str], count: int) -> str:
    return ", ".join(named) + (f", ... ({count:,} in all)" if count > len(named) else "")
