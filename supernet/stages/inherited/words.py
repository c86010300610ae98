"""What a retraining takes over from the run whose genotype it trains: the data, the size of the network, its recipe.

    supernet retrain genotype=runs/RUN                 all of them as in RUN
    supernet retrain genotype=runs/RUN data=cifar10    other data; the network still of RUN's size
    supernet retrain genotype=runs/RUN experiment=X    an experiment names all of them: nothing is taken over

A genotype without a run brings what its space needs, such as `network=nasbench201`. All of it becomes words of the
command line, so that `--cfg job` shows it and any word that is typed wins over it. Not taken over are how the data are
augmented and cut (`data.pad`, `data.cutout`, `data.limit`): those belong to one training.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import SupernetError, short
from ...presets import preset, preset_names
from ...runs.folder import RunFolder
from ...space.form import SpaceFile
from ...space.lookup import find_genotype, kept_space
from ..next_command import data_words, word

__all__ = ["NETWORK", "USUAL_TASK", "inherited_words", "network_of", "recipe_of", "referred", "taken_over"]

_GENOTYPE = re.compile(r"""\+{0,2}genotype=["']?(.+?)["']?""")
NETWORK, RECIPE = "small", "digits"  # the options for cells of DARTS' kind and tens of epochs
OF_ONE_TRAINING = (
    "affine",
    "partial",
    "checkpoint",
    "pool_bn",
    "concat",
    "dropout",
    "in_chans",
    "num_classes",
)  # of `network`
USUAL_TASK = "auto"
COLOUR = ("cifar10", "cifar100", "svhn", "folder", "csv")  # data in colour, unless data.in_chans says otherwise
NEEDS_COLOUR = {"autoformer_tiny": "timm_modern"}  # a transformer learns little with the rates of convolutions


def referred(words: Sequence[str]) -> list[str]:
    """What the words name as genotype; several in a sweep."""
    texts = [match[1] for text in words if (match := _GENOTYPE.fullmatch(text))]
    sweep = any(text in ("-m", "--multirun") for text in words)
    return [part for text in texts for part in (text.split(",") if sweep else [text])]


def inherited_words(words: Sequence[str]) -> list[str]:
    """The words that the runs named as genotype add to those typed; [] where there is no run, or nothing to add.

    Raises SupernetError where the runs of a sweep would add different ones.
    """
    if any(_key(text) == "experiment" or text.startswith(("--config-name", "-cn")) for text in words):
        return []
    keys = {_key(text) for text in words if not text.startswith("-") and ("=" in text or text.startswith("~"))}
    lists = {reference: _of(reference, keys) for reference in referred(words)}
    distinct = {tuple(more) for more in lists.values()}
    if len(distinct) > 1:
        one, other = list(distinct)[:2]
        differing = sorted({*one} ^ {*other})
        raise SupernetError(
            f"the runs of this sweep differ in {', '.join(differing[:4])}: retrain them one by one, or type data=... "
            "and network=... for all of them"
        )
    return list(distinct.pop()) if distinct else []


def _of(reference: str, keys: set[str]) -> list[str]:
    path = Path(reference).expanduser()
    run = RunFolder(path if path.is_dir() else path.parent)
    if not path.exists() or not (run.path / "config.json").is_file():
        return _of_space(reference, keys)
    more = taken_over(run.config["config"], find_genotype(path)[0].space, kept_space(path), keys)
    if strange := [text for text in more if "${" in text]:
        raise SupernetError(f"{run.path} has the setting {short(strange[0])!r}: what it refers to is not looked up")
    return more


def taken_over(settings: Mapping[str, object], space: str, file: SpaceFile | None, keys: set[str]) -> list[str]:
    """The words of a retraining that follow from the `settings` of a search in `space`, or in that of a space file.

    `keys` are those of words that are typed, which take the place of what they set.
    """
    data = _below(settings, "data")
    more: list[str] = []
    if not keys & {"data", "data.name"}:
        more += data_words(data)
        if (task := settings.get("task", USUAL_TASK)) != USUAL_TASK:
            more.append(word("task", task))
    if "network" not in keys:
        more += _network(file, space, _below(settings, "network"))
    if "recipe" not in keys:
        more += _recipe(space, data, keys)
    return [text for text in more if _key(text) not in keys]


def _of_space(reference: str, keys: set[str]) -> list[str]:
    """What a genotype without a run needs: the network and the recipe of its space, where that has its own."""
    try:
        space = find_genotype(reference)[0].space
    except SupernetError:  # told where the stage reads it
        return []
    parts = [part for part in ("network", "recipe") if part not in keys and space in preset_names(part)]
    return [word(part, space) for part in parts]


def network_of(
    file: SpaceFile | None, space: str, network: Mapping[str, object]
) -> tuple[str | None, dict[str, object]]:
    """(the option of `network` that a space has, the size that its run had); no option for a network of one's own.

    `file` is the space file that lies beside the run or its genotype, `network` what the run's settings say.
    """
    if file is not None and "cells" not in file.data:  # a network of one's own, which the group is left out for
        return None, {key: value for key, value in network.items() if key not in OF_ONE_TRAINING}
    cells = file.data["cells"] if file is not None else None
    macro = str(cells.get("macro")) if isinstance(cells, dict) else space
    option = macro if macro in preset_names("network") else NETWORK
    searched = {**_searched(macro if option != NETWORK else "darts"), **network}
    return option, {key: value for key, value in searched.items() if key not in OF_ONE_TRAINING}


def _network(file: SpaceFile | None, space: str, network: Mapping[str, object]) -> list[str]:
    """The option of `network` that the space has, and the size that the run had, as words."""
    option, size = network_of(file, space, network)
    if option is None:
        return [word(f"++network.{key}", value) for key, value in size.items()]
    usual = _below(preset("network", option), "network")
    words = [word("network", option)] if option != NETWORK else []
    for key, value in size.items():
        if value != usual.get(key):
            words.append(word(f"network.{key}" if key in usual else f"++network.{key}", value))
    return words


def _searched(space: str) -> Mapping[str, object]:
    """The size of a search's network where its settings say nothing."""
    return _below(preset("space", space), "network") if space in preset_names("space") else {}


def recipe_of(space: str, data: Mapping[str, object] | None) -> str:
    """The recipe that fits a space, and the data of its run; None: other data, of which nothing is known."""
    coloured = data is not None and data.get("name") in COLOUR and data.get("in_chans") in (None, 3)
    if space in NEEDS_COLOUR and coloured:
        return NEEDS_COLOUR[space]
    return space if space in preset_names("recipe") else RECIPE


def _recipe(space: str, data: Mapping[str, object], keys: set[str]) -> list[str]:
    return [word("recipe", recipe_of(space, None if keys & {"data", "data.name"} else data))]


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0].partition("@")[0]


def _below(settings: Mapping[str, object], key: str) -> Mapping[str, object]:
    below = settings.get(key)
    return below if isinstance(below, Mapping) else {}
