"""The stage `compare`: methods and controls under one budget, with intervals that say what is noise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import SupernetError
from ..stage import Read, Stage
from .config import CompareConfig

if TYPE_CHECKING:
    from ...runs.folder import RunFolder

__all__ = ["STAGE", "CompareConfig"]


def run(config: CompareConfig, read: Read) -> "RunFolder":
    from .run_compare import run_compare

    return run_compare(config, read)


def check(config: CompareConfig) -> None:
    """Raises SupernetError for a table without its YAML."""
    if config.table is not None:
        from ...evaluate.binding import read_binding

        if not read_binding(config.table).table.is_file():
            raise SupernetError(f"table={config.table} is no file")


def overrides(words: Sequence[str]) -> list[str]:
    """What is no setting of the comparison goes into the lists of words of its searches and retrainings."""
    from .words import sorted_words

    return sorted_words(words)


def rows(run: "RunFolder") -> Mapping[str, str]:
    """A line for each method and published cell, and where the tables are."""
    shown = {"comparison": str(run.path / "comparison.md")}
    for row in run.record("comparison.json")["rows"]:
        title = f"{row['name']}: " if row["name"] else ""
        for entry in row["entries"]:
            text = f"{entry['mean']:.4f}"
            for key, to in (("to_random_median", "random"), ("to_first", "the first")):
                if key in entry:
                    text += f"; {entry[key]:+.4f} to {to}, {entry[f'{key}_verdict']}"
            shown[title + entry["name"]] = text
    return shown


STAGE = Stage(
    name="compare",
    help="compare methods and random controls under one budget",
    example="supernet compare methods=[darts,drnas,beta_darts] seeds=5 data=digits epochs=10",
    config=CompareConfig,
    run_with=run,
    check=check,
    overrides=overrides,
    rows=rows,
)
