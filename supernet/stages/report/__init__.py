"""The stage `report`: report.html of run folders, written anew. Its few words are read here, without Hydra."""

from collections.abc import Sequence

from ...errors import SupernetError, unknown
from ..stage import Stage, Words

__all__ = ["STAGE"]

MOST = 4000  # characters of a word; no path is longer
HELP = """\
Usage: supernet report RUN ...           report.html in each of these run folders, anew; one page, no network access
       supernet report RUN allow=PACKAGE

  RUN      the folder of a search or a retraining, ended or at work
  allow=   prefixes of import paths whose classes the space file of a run may name, such as mypkg.blocks,mypkg.heads

A run writes its page by itself, at its end and now and then before (log.report=false switches that off)."""


def run(words: Words) -> int:
    """Writes the pages and prints their paths. Raises SupernetError for mistakes."""
    if any(word in ("-h", "--help", "help") for word in words.given):
        print(HELP)
        return 0
    runs, allow = _sorted(words.given)
    if not runs:
        raise SupernetError("supernet report needs a run folder, such as runs/RUN; supernet watch shows them")
    from .write import report

    for path in report(runs, allow):
        print(path)
    return 0


def _sorted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(run folders, prefixes that are allowed)"""
    runs, allow = list[str](), list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        if not word or len(word) > MOST or "\0" in word or word.startswith("-"):
            raise SupernetError(f"{word[:60]!r} is no run folder")
        if key == "allow" and equals:
            allow += [item for part in value.strip("[]").split(",") if (item := part.strip(" \"'"))]
        elif key == "run" and equals:
            runs.append(value)
        elif equals and "/" not in key:
            raise SupernetError(unknown("setting of supernet report:", key, ["allow", "run"]))
        else:
            runs.append(word)
    return runs, allow


STAGE = Stage(
    name="report",
    help="write report.html, the page of a run",
    example="supernet report runs/RUN",
    run=run,
)
