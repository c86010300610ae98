"""What a retraining in Python takes over from the run whose genotype it trains, as `words.py` does for a command.

supernet.retrain("runs/RUN")                           the data, the size of the network and the recipe of RUN
supernet.retrain("runs/RUN", network={"layers": 20})   of the network its other sizes
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from ...config import RetrainConfig, from_mapping
from ...presets import merged, preset
from ...runs.folder import RunFolder, is_begun
from ...space import Genotype
from ...space.lookup import find_genotype, kept_space
from ..labels import label_of_retraining
from ..next_command import data_settings
from .words import USUAL_TASK, network_of, recipe_of

__all__ = ["inheriting"]

log = logging.getLogger(__name__)


def _taken_over(reference: str | Path, typed: Collection[str]) -> dict[str, object]:
    """The groups of settings that the run `reference`, or the run of a genotype file, adds to those that are `typed`.

    {} where there is no run. Raises SupernetError for a damaged one.
    """
    path = Path(reference).expanduser()
    run = RunFolder(path if path.is_dir() else path.parent)
    if not path.exists() or not (run.path / "config.json").is_file():
        return {}
    settings = run.config["config"]
    data, network = ({**below} if isinstance(below := settings.get(key), dict) else {} for key in ("data", "network"))
    space = find_genotype(path)[0].space
    more: dict[str, object] = {}
    if "data" not in typed and (group := data_settings(data)):
        more["data"] = group
    if "data" not in typed and "task" not in typed and (task := settings.get("task", USUAL_TASK)) != USUAL_TASK:
        more["task"] = task
    option, size = network_of(kept_space(path), space, network)
    more = merged(more, {} if option is None else preset("network", option), {"network": size})
    if "recipe" not in typed:
        more = merged(more, preset("recipe", recipe_of(space, None if "data" in typed else data)))
    return more


def inheriting(typed: Mapping[str, object], reference: str | Path | None, point: Genotype | None) -> RetrainConfig:
    """The settings `typed`, by groups, on top of those of the run `reference`, where there is one, or the usual ones.

    `point` is the genotype where the settings name none. A run that was begun under the same name when nothing was
    taken over goes on without. Raises SupernetError for settings that are none.
    """
    before = _on_top({}, typed)
    if reference is None or not (more := _taken_over(reference, typed)):
        return before
    config = _on_top(more, typed)
    genotype = find_genotype(point or reference)[1]
    if not _begun(config, genotype) and _begun(before, genotype):
        log.info(
            "begun before settings were taken over with a genotype, and goes on without them; run.fresh=true, or "
            "another run.name, takes them over"
        )
        return before
    log.info("taken over with the genotype: its %s; what is given wins", ", ".join(more))
    return config


def _on_top(more: Mapping[str, object], typed: Mapping[str, object]) -> RetrainConfig:
    usual = merged(preset("data", "digits"), preset("recipe", "digits"))
    usual = {group: values for group, values in usual.items() if group not in more and group not in typed}
    return from_mapping(RetrainConfig, merged(usual, more, typed))


def _begun(config: RetrainConfig, genotype: str) -> bool:
    """Whether there is a run of this name and these settings; one without a name was never begun in a folder."""
    label = label_of_retraining(config, genotype)
    return config.run.name is not None and is_begun(config, "retrain", label.text, prefix=label.prefix)
