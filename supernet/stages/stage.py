"""A stage of the command line as one record: what it does, how it is set, how a run of it is told apart and shown.

`supernet.cli` runs any such record and knows none by its name. A file of a stage holds its record and imports torch
inside functions only: the help and most mistakes are answered before it is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar, cast

from ..errors import SupernetError, short
from ..files import slug
from ..runs.meanings import explained, margin_rows
from ..runs.names import PAGE
from ..runs.shapes import as_written
from ..tasks.compare import finite

if TYPE_CHECKING:
    from ..config import RetrainConfig, SearchConfig
    from ..runs.folder import RunFolder
    from ..runs.identity import RunSettings

__all__ = ["AnyStage", "Label", "Read", "Stage", "Words", "folder_prefix", "run_rows", "run_score"]

Read: TypeAlias = Callable[[str, Sequence[str]], tuple[object, ...]]  # (stage, words) -> settings, one for each run

C = TypeVar("C")
R = TypeVar("R")


class Label(NamedTuple):
    """How a run is told apart from others of its stage, besides by its settings.

    `text` stands in the run's identity for what the settings name by a path or not at all. `prefix` begins the name of
    the run's folder, where no name is set; the digest of the identity ends it.
    """

    text: str | None
    prefix: str


class Words(NamedTuple):
    """What a stage without settings is given: the words behind its name on the command line.

    `settings(stage, words)` reads words as another stage's settings, one for each run, as the command line does.
    """

    given: tuple[str, ...]
    settings: Read


def nothing_to_check(config: object) -> None:
    """All mistakes in the settings are found when they are made, or later with torch."""


def runs_with(config: object) -> NoReturn:
    """Stands for `run` where the record has `run_with`."""
    raise TypeError("this stage runs other stages: call run_with")


def as_given(overrides: Sequence[str]) -> list[str]:
    return list(overrides)


def nothing_inherited(overrides: Sequence[str]) -> list[str]:
    return []


def no_rows(result: object) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[C, R]):
    """One stage. Beside it lies `conf/NAME.yaml`, which chooses the parts, where the stage has settings.

    C is the settings' dataclass and R the result of `run`: a `RunFolder` where the stage has run folders. A stage
    without settings (`config` None) takes `Words`, prints by itself, and its result is the exit code.
    """

    name: str
    help: str  # what it does, in a few words
    example: str  # a whole command
    run: Callable[[C], R] = runs_with
    # In place of `run`, for a stage that runs others: it reads words as their settings, as the command line does.
    run_with: Callable[[C, Read], R] | None = None
    config: type[C] | None = None
    # What can be known to be wrong without torch; raises SupernetError.
    check: Callable[[C], None] = nothing_to_check
    # None: no run folders. Raises SupernetError where what it names is not there.
    label: Callable[[C], Label] | None = None
    # The command line's words as Hydra is to compose them.
    overrides: Callable[[Sequence[str]], list[str]] = as_given
    # Words that an earlier run, named among those typed, adds to them. Raises SupernetError as `label` does.
    inherited: Callable[[Sequence[str]], list[str]] = nothing_inherited
    rows: Callable[[R], Mapping[str, str]] = no_rows  # what is printed of the result, by row
    next: Callable[[R], str] | None = None  # the command that comes after it
    score: Callable[[R], float | None] | None = None  # what a sweep may optimise; never of the test split

    def finished(self, config: C) -> "RunFolder | None":
        """The run folder of these settings if it has ended; None where it must run, or has none. Needs no torch."""
        if self.label is None:
            return None
        from ..runs.folder import RunFolder

        label = self.label(config)
        return RunFolder.find_finished(cast("RunSettings", config), self.name, label.text, prefix=label.prefix)

    def found(self, config: C) -> "RunFolder | None":
        """`finished`, once its data were compared and one line has told of it; SupernetError where they are others."""
        run = self.finished(config)
        if run is not None:
            from ..runs.same_data import compare_finished, tell_finished

            settings = cast("RunSettings", config)
            if hasattr(settings, "data"):
                compare_finished(run, settings.data, self.name, settings.seed)
            tell_finished(run)
        return run


AnyStage: TypeAlias = Stage[Any, Any]  # the command line knows none of them


def folder_prefix(config: "SearchConfig | RetrainConfig", *words: str) -> str:
    """The beginning of a folder's name: the words, the data set and the seed."""
    from ..runs.names import data_label

    return "-".join([*map(slug, words), slug(data_label(config.data)), f"s{config.seed}"])


def run_rows(run: "RunFolder") -> dict[str, str]:
    """The rows of a finished run."""
    result = run.trained()
    rows = {"run folder": str(run.path)}
    for name, value in result["metrics"].items():
        if isinstance(value, (int, float)) and (text := explained(name, value)):
            rows[name] = text
    if "parameters" in result:
        rows["parameters"] = f"{result['parameters']:,}"
    rows["seconds"] = f"{result['seconds']:.1f}"
    with as_written(run.result_path, "what a search says of its decisions"):
        rows |= margin_rows(result.get("margins", ()))
        rows |= {word: "; ".join(result[word]) for word in ("closest", "note") if result.get(word)}
    rows["genotype"] = f"{run.genotype_path}  ({result['genotype']})"
    if (page := run.path / PAGE).is_file():
        rows["page"] = str(page)
    return rows


def run_score(metrics: Mapping[str, float], result: Mapping[str, object]) -> float | None:
    """Of `metrics` the one on the validation part that the task of the run selects by."""
    name = f"val/{result.get('selects', 'top1')}"  # the default serves runs of earlier versions
    value = metrics.get(name)
    try:
        return None if value is None else finite({**metrics, name: float(value)}, name)
    except (TypeError, ValueError):
        raise SupernetError(f"the metric {short(name)} of the run is {short(repr(value))}, and no number") from None
