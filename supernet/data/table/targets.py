"""What the cells of a table come to: classes, rows of labels, or numbers.

    one column of names or whole numbers              classification: the sorted values are the classes
    several columns of 0 and 1, one 1 in each row     the same, a column a class
    several columns of 0 and 1                        multi_label, a column a label
    one column with ; in some cell                    multi_label, the sorted names between them; an empty cell has none
    numbers, where task=regression asks for them      regression, a column an output

`task=` asks for one of them. Without it the first that fits is taken, and numbers that look measured are refused.
"""

# N rows, K outputs

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import SupernetError, short
from ...files import JSON
from ..memory.labels import classes_of
from ..sources import Targets
from .rows import Table

__all__ = ["SEPARATOR", "Outputs", "outputs_of"]

SEPARATOR = ";"
BITS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "False": 0.0, "True": 1.0}  # the last as pandas writes them
CHOOSES = "data.kwargs.target=COLUMN (or [A,B]) chooses the columns"


@dataclass(frozen=True)
class Outputs:
    """The targets of all rows, [N] or [N, K], for one task, and what the network's outputs are called.

    `seen` says of each output how many training rows have it, or the least and the largest of its numbers; it is empty
    where the counts of classes tell it.
    """

    task: str
    values: Targets
    names: tuple[str, ...]
    seen: Mapping[str, JSON]


def outputs_of(table: Table, columns: tuple[str, ...], task: str, separator: str, train: NDArray[np.int64]) -> Outputs:
    """The targets in these columns for `task`, or for the first task that fits where that is "auto".

    `train` are the numbers of the training rows, which say what outputs there are. Raises SupernetError for cells that
    do not fit, and for labels that no training row has.
    """
    if not columns:
        raise SupernetError(f"{table.path} has masks and no labels for task={task}; leave task= out, or add a column")
    task = _task_of(table, columns, separator) if task == "auto" else task
    if task == "multi_label":
        return _labels(table, columns, separator, train)
    return _numbers(table, columns, train) if task == "regression" else _classes(table, columns, train)


def _task_of(table: Table, columns: tuple[str, ...], separator: str) -> str:
    """What the cells look like; raises SupernetError where that is not clear."""
    cells = [table.column(column) for column in columns]
    if len(columns) > 1:
        if not all(cell in BITS for column in cells for cell in column):
            raise SupernetError(
                f"{table.path} has the columns {short(', '.join(columns), 100)} beside its pictures, not all of 0 and "
                f"1; {CHOOSES}, task=regression takes numbers"
            )
        one_each = all(sum(BITS[cell] for cell in row) == 1 for row in zip(*cells, strict=True))
        return "classification" if one_each else "multi_label"
    if any(separator in cell for cell in cells[0]):
        return "multi_label"
    if all(map(_is_number, cells[0])):
        distinct = len(set(cells[0]))
        fractions = any(float(cell) % 1 for cell in cells[0])
        if fractions or 2 < distinct == len(cells[0]):
            what = "numbers with fractions" if fractions else f"{distinct} numbers in {distinct} rows"
            raise SupernetError(
                f"the column {columns[0]!r} of {table.path} has {what}: task=regression predicts them, "
                "task=classification makes each of them a class"
            )
    return "classification"


def _classes(table: Table, columns: tuple[str, ...], train: NDArray[np.int64]) -> Outputs:
    if len(columns) > 1:
        rows = _bits(table, columns, "task=classification reads one column, or columns with one 1 in each row")
        if wrong := np.flatnonzero(rows.sum(1) != 1).tolist():
            raise SupernetError(
                f"{table.at(wrong[0])}, has {int(rows[wrong[0]].sum())} of its {len(columns)} classes; "
                "task=multi_label takes any number of them"
            )
        return Outputs("classification", rows.argmax(1).astype(np.int64), columns, {})
    cells = table.column(columns[0])
    if "" in cells:
        raise SupernetError(f"{table.at(cells.index(''))}, has no label in the column {columns[0]!r}; fill it")
    whole = all(map(_is_whole, cells))
    values = np.asarray([int(cell) for cell in cells]) if whole else np.asarray(cells, dtype=object)
    classes = classes_of([values[train]])
    if len(classes.values) < 2:
        raise SupernetError(
            f"the training rows of {table.path} have the one class {classes.names[0]!r}; telling apart needs 2 or more"
        )
    places = {value: k for k, value in enumerate(classes.values)}
    for row, value in enumerate(values.tolist()):
        if value not in places:
            raise _unknown_label(table, row, str(value), classes.names)
    numbers = np.asarray([places[value] for value in values.tolist()], dtype=np.int64)
    return Outputs("classification", numbers, classes.names, {})


def _labels(table: Table, columns: tuple[str, ...], separator: str, train: NDArray[np.int64]) -> Outputs:
    cells = table.column(columns[0])
    if len(columns) > 1 or all(cell in BITS for cell in cells):
        names = columns
        rows = _bits(table, columns, "task=multi_label reads columns of 0 and 1, or one of names with ; between them")
    else:
        sets = [{part.strip() for part in cell.split(separator)} - {""} for cell in cells]
        names = _sorted({name for row in train.tolist() for name in sets[row]})
        for row, labels in enumerate(sets):
            if strange := sorted(labels - {*names}):
                raise _unknown_label(table, row, strange[0], names)
        rows = np.asarray([[name in labels for name in names] for labels in sets], dtype=np.float32)
    counts = rows[train].sum(0).astype(int).tolist()
    if not any(counts):
        raise SupernetError(
            f"the training rows of {table.path} have no label in {', '.join(columns)}: nothing to learn"
        )
    return Outputs("multi_label", rows, names, dict(zip(names, counts, strict=True)))


def _numbers(table: Table, columns: tuple[str, ...], train: NDArray[np.int64]) -> Outputs:
    numbers = np.empty((len(table.rows), len(columns)), dtype=np.float32)
    for k, column in enumerate(columns):
        for row, cell in enumerate(table.column(column)):
            if not _is_number(cell):
                raise SupernetError(
                    f"{table.at(row)}: {short(cell)!r} in the column {column!r} is no finite number, which "
                    f"task=regression needs; {CHOOSES}"
                )
            numbers[row, k] = float(cell)
    low, high = numbers[train].min(0).tolist(), numbers[train].max(0).tolist()
    for name, least, largest in zip(columns, low, high, strict=True):
        if least == largest:
            raise SupernetError(f"the training rows of {table.path} all have {least:g} in the column {name!r}")
    ends: dict[str, JSON] = {name: [a, b] for name, a, b in zip(columns, low, high, strict=True)}
    return Outputs("regression", numbers, columns, ends)


def _bits(table: Table, columns: tuple[str, ...], needs: str) -> NDArray[np.float32]:
    """Columns of 0 and 1 as rows [N, K]."""
    bits = np.empty((len(table.rows), len(columns)), dtype=np.float32)
    for k, column in enumerate(columns):
        for row, cell in enumerate(table.column(column)):
            if cell not in BITS:
                raise SupernetError(
                    f"{table.at(row)}: {short(cell)!r} in the column {column!r} is neither 0 nor 1; {needs}; {CHOOSES}"
                )
            bits[row, k] = BITS[cell]
    return bits


def _unknown_label(table: Table, row: int, label: str, names: tuple[str, ...]) -> SupernetError:
    some = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
    return SupernetError(
        f"{table.at(row)}, has the label {short(label)!r}, which no training row has; they have {some}"
    )


def _sorted(names: set[str]) -> tuple[str, ...]:
    """By number where all are whole numbers, else by text, as classes are."""
    return tuple(sorted(names, key=int) if all(map(_is_whole, names)) else sorted(names))


def _is_whole(cell: str) -> bool:
    """Whether a cell is a whole number in its one spelling (007 is a name) that has 64 bits."""
    digits = cell.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(cell)) == cell


def _is_number(cell: str) -> bool:
    """Whether a cell is a finite number of 32 bits."""
    try:
        return abs(float(cell)) <= float(np.finfo(np.float32).max) and "_" not in cell
    except ValueError:
        return False
