"""The small YAML that binds a CSV of architectures and scores to a space.

space: nas_bench_macro
architecture: {column: arch, spelling: digits}
metrics:
  test_acc: {columns: [acc1, acc2, acc3], direction: max}   # the mean of the columns
  params: {columns: params, direction: min}
score: test_acc          # by which architectures are compared; left out: the first metric
parameters: params       # the metric that counts parameters, where the table has one
complete: true           # every point of the space has a row, and a table without one is refused
file: accuracies.csv     # beside this file; left out: the CSV of this file's name
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config import from_mapping
from ..config.checks import require
from ..errors import SupernetError, unknown
from ..files import is_yaml, read_text
from ..space.form.strict import MOST_BYTES, read_yaml
from .spelling import SPELLINGS

__all__ = ["Binding", "Metric", "read_binding"]

DIRECTIONS = ("max", "min")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of an architecture: the mean of `columns`, better where it is larger ("max") or smaller ("min")."""

    columns: list[str] = field(default_factory=list)
    direction: str = "max"

    def __post_init__(self) -> None:
        require(bool(self.columns), "metrics: columns names no column")
        require(self.direction in DIRECTIONS, unknown("direction of a metric", self.direction, DIRECTIONS))


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    column: str = ""
    spelling: str = ""

    def __post_init__(self) -> None:
        require(bool(self.column), "architecture.column is missing: the column that holds the architectures")
        require(self.spelling in SPELLINGS, unknown(SPELLINGS.kind, self.spelling, SPELLINGS))


@dataclass(frozen=True, kw_only=True)
class _Document:
    """The keys of the file; `metrics` is read name by name."""

    space: str = ""
    architecture: dict[str, object] = field(default_factory=dict)
    score: str | None = None
    parameters: str | None = None
    complete: bool = False
    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Binding:
    """How the rows of a CSV are points of a space."""

    table: Path  # the CSV
    space: str
    column: str
    spelling: str
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    score: str = ""
    parameters: str | None = None
    complete: bool = False

    @property
    def maximise(self) -> bool:
        """Whether a larger score is better."""
        return self.metrics[self.score].direction == "max"


def read_binding(path: str | Path) -> Binding:
    """The binding of the table `path`: its YAML, or the CSV, whose YAML lies beside it under the same name.

    Raises SupernetError, with the file, for anything that is no such document.
    """
    path = Path(path).expanduser()
    document = path if is_yaml(path) else path.with_suffix(".yaml")
    if not document.is_file():
        raise SupernetError(
            f"{document} is not there; a table needs a YAML beside it which says what its columns are: see "
            "docs/compare.md, or give the YAML itself, which may name the CSV (file: PATH)"
        )
    try:
        return _binding(read_yaml(read_text(document, MOST_BYTES)), path, document)
    except (SupernetError, UnicodeDecodeError) as error:
        raise SupernetError(f"{document}: {error}") from None


def _binding(data: object, path: Path, document: Path) -> Binding:
    if not isinstance(data, Mapping):
        raise SupernetError("no mapping of keys")
    metrics = data.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        raise SupernetError("metrics names none, such as test_acc: {columns: [acc], direction: max}")
    own = from_mapping(_Document, {key: value for key, value in data.items() if key != "metrics"})
    require(bool(own.space), "space is missing: the space whose points the architectures are")
    architecture = from_mapping(_Architecture, own.architecture, "architecture.")
    known = {str(name): _metric(str(name), value) for name, value in metrics.items()}
    score = own.score or next(iter(known))
    for key, name in (("score", score), ("parameters", own.parameters)):
        require(name is None or name in known, unknown(f"metric in {key}:", name, known))
    table = document.parent / own.file if own.file else document.with_suffix(".csv") if is_yaml(path) else path
    return Binding(
        table=table,
        space=own.space,
        column=architecture.column,
        spelling=architecture.spelling,
        metrics=known,
        score=score,
        parameters=own.parameters,
        complete=own.complete,
    )


def _metric(name: str, value: object) -> Metric:
    if not isinstance(value, Mapping):
        raise SupernetError(f"metrics.{name} must be a group such as {{columns: [acc], direction: max}}")
    return from_mapping(Metric, {str(key): item for key, item in value.items()}, f"metrics.{name}.")
