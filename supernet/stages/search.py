"""The stage `search`: one bilevel run over a space."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import SearchConfig
from .labels import label_of_search
from .stage import Label, Stage, run_rows, run_score

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

__all__ = ["STAGE"]

_FILE = re.compile(r"\+{0,2}space\.file=(?!null$|$)")


def run(config: SearchConfig) -> "RunFolder":
    from .run_search import run_search
    from .running import folder_of

    return folder_of(run_search(config))


def check(config: SearchConfig) -> None:
    """Raises SupernetError for an unknown space, or for arguments that it does not take."""
    if config.space.file is None:
        from ..space import get_space

        get_space(config.space.name, **config.space.args)


def label(config: SearchConfig) -> Label:
    from . import space_config

    return label_of_search(config, space_config.label_of(config.space))


def overrides(words: Sequence[str]) -> list[str]:
    """A space file brings its own network: the group `space`, with the settings of DARTS' network, is left out."""
    from .overrides import with_unlisted, without_group

    return without_group("space", with_unlisted(words), needed=any(_FILE.match(word) for word in words))


def following(run: "RunFolder") -> str:
    """The retraining, which takes data and size from the run; with the leave to import classes of its space."""
    from .next_command import override

    space = run.config["config"].get("space")
    leave = space.get("allow") if isinstance(space, dict) else None
    allow = [override("allow", leave)] if leave else []
    return f"supernet retrain {' '.join([override('genotype', run.path), *allow])}"


def score(run: "RunFolder") -> float | None:
    result = run.trained()
    return run_score(result["metrics"], result)


STAGE = Stage(
    name="search",
    help="find a cell by a differentiable search",
    example="supernet search data=digits epochs=10 seed=1",
    config=SearchConfig,
    run=run,
    check=check,
    label=label,
    overrides=overrides,
    rows=run_rows,
    next=following,
    score=score,
)
