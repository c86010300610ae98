"""The stage `retrain`: the network of one genotype, trained from scratch and tested once."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..config import RetrainConfig
from ..errors import SupernetError
from .labels import label_of_retraining
from .stage import Label, Stage, run_rows, run_score

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

__all__ = ["STAGE"]


def run(config: RetrainConfig) -> "RunFolder":
    from .run_retrain import run_retrain
    from .running import folder_of

    return folder_of(run_retrain(config))


def label(config: RetrainConfig) -> Label:
    """Raises SupernetError where no genotype is named, or none is there."""
    if not config.genotype:
        raise SupernetError(
            "genotype is not set; give genotype=RUNFOLDER of a search, a genotype.json or a published name"
        )
    from ..space.lookup import find_genotype

    return label_of_retraining(config, find_genotype(config.genotype)[1])


def overrides(words: Sequence[str]) -> list[str]:
    """A genotype whose run keeps the file of a network needs no settings of another one: without `network`."""
    from .inherited.words import referred
    from .overrides import with_unlisted, without_group

    references = referred(words)
    needed = len(references) == 1 and _brings_network(references[0])
    return without_group("network", with_unlisted(words), needed=needed)


def _brings_network(reference: str) -> bool:
    from ..space.lookup import kept_space

    try:
        file = kept_space(reference)
    except SupernetError:  # told where the stage reads it
        return False
    return file is not None and "cells" not in file.data


def inherited(words: Sequence[str]) -> list[str]:
    """The data, the size and the recipe of the run that the genotype is of."""
    from .inherited.words import inherited_words

    return inherited_words(words)


def following(run: "RunFolder") -> str:
    """The export of images where timm can build the network again; else what loads it in Python."""
    from ..runs.shapes import RETRAINED
    from ..space.lookup import kept_space
    from .next_command import override

    if "input_size" in run.trained(RETRAINED)["data"] and kept_space(run.path) is None:
        return f"supernet export {override('run', run.path)}"
    allow = run.config["config"].get("allow")
    leave = f", allow={json.dumps(allow)}" if allow else ""
    load = f"model = load({json.dumps(str(run.path))}{leave})"
    return f"python -c {shlex.quote(f'from supernet.train.trained import trained_network as load; {load}')}"


def rows(run: "RunFolder") -> Mapping[str, str]:
    """Those of every run, and the random cells of equal size that were trained beside it."""
    from .controls.beside import control_rows, controls_of, measured

    result, shown = run.trained(), run_rows(run)
    if controls := controls_of(result, run.result_path):
        _, value = measured(result["metrics"], str(result.get("selects", "top1")))
        shown |= control_rows(value, controls)
    return shown


def score(run: "RunFolder") -> float | None:
    """Of the best epoch, which is the one that is kept."""
    result = run.trained()
    return run_score({**(result.get("best") or {}), **result["metrics"]}, result)


STAGE = Stage(
    name="retrain",
    help="train the network of a genotype from scratch and test it",
    example="supernet retrain genotype=runs/RUN",
    config=RetrainConfig,
    run=run,
    label=label,
    overrides=overrides,
    inherited=inherited,
    rows=rows,
    next=following,
    score=score,
)
