"""The toolkit in a notebook: search, retrain and export as functions of data at hand.

    searched = supernet.search("darts", train, val, epochs=10, network={"channels": 8, "layers": 5})
    trained = supernet.retrain(searched.genotype, train, val, test, epochs=30)
    supernet.export_model(trained, "my-model")

Settings have the names of the command line (`supernet search --cfg job` prints them); groups are mappings.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
from torch import nn

from .config import SearchConfig, from_mapping
from .data.augment import Augment
from .data.memory.arrays import from_arrays
from .data.splits import Splits
from .errors import SupernetError
from .export import check_reopens
from .files import is_yaml
from .presets import merged, preset
from .space import SPACES, Genotype, Space, get_space
from .space.form import load_space
from .space.lookup import find_genotype
from .stages.inherited.settings import inheriting
from .stages.run_export import export_retrained
from .stages.run_retrain import Retrained, run_retrain
from .stages.run_search import Searched, run_search
from .tasks.task import AUTO, Task, name_of, require_name

__all__ = ["export_model", "retrain", "search"]

Settings = Mapping[str, object]
SpaceLike = str | Path | Space | type[nn.Module]


def search(
    space: SpaceLike = "darts",
    train: object = None,
    val: object = None,
    *,
    method: str | Settings = "darts_first_order",
    data: str | Settings = "digits",
    augment: Augment | None = None,
    task: Task | str | None = None,
    run: str | Path | None = None,
    allow: str | Sequence[str] = (),
    **settings: object,
) -> Searched:
    """Search `space` on `train` (and `val` for the alphas, else a part of `train`); without data on the set `data`.

    `space` is a registered name, a YAML file, a `Space`, or a network class with choices in it. `train` and `val` are
    map-style data sets of (image, target), or pairs of arrays (images [N, C, H, W], targets [N]). `task` is a name
    (multi_label, regression, segmentation) or a `Task`; without one the targets are classes. `method` is a name of a
    preset or its settings. `run` names a folder in which the search lives and is resumed; without it nothing is
    written. `allow` has the prefixes of import paths whose classes a YAML file may name.
    Raises SupernetError for unknown names and settings.
    """
    named: dict[str, object] = {"allow": _as_list(allow)}
    if isinstance(space, str | Path):
        named["file" if _is_file(space) else "name"] = str(space)
    elif not isinstance(space, Space):
        space = Space(space)  # refuses what makes no network
    splits = _splits(train, val, None, augment, task, settings)
    chosen = {"space": named, "run": _run(run)}
    values = merged(_data(data, splits, task), _group("method", method), chosen, _named(task), _plain(settings))
    config = from_mapping(SearchConfig, values)
    own = space if isinstance(space, Space) else None
    return run_search(config, space=own, splits=splits, task=_own(task), in_folder=run is not None)


def retrain(
    genotype: Genotype | Searched | str | Path,
    train: object = None,
    val: object = None,
    test: object = None,
    *,
    space: SpaceLike | None = None,
    recipe: str | Settings | None = None,
    data: str | Settings | None = None,
    augment: Augment | None = None,
    task: Task | str | None = None,
    run: str | Path | None = None,
    allow: str | Sequence[str] = (),
    **settings: object,
) -> Retrained:
    """Train the network of `genotype` (or what a search gave, a file, a run folder, a published name) from scratch.

    Selection reads `val`, or a part of `train`; `test` is read once, at the end. `space` is needed for a network of
    your own, and is named as for `search`. `recipe` is a preset's name or its settings. Of a run folder, or of what a
    search in one gave, the data, the size of the network and the recipe that fits are taken over; what is given wins.
    Else data and recipe are those of the digits. Otherwise as `search`.
    """
    run_of_search = genotype.folder if isinstance(genotype, Searched) else genotype
    if isinstance(genotype, Searched):
        searched = genotype.net.space
        space = space or (searched if searched.factory is not None or searched.name not in SPACES else None)
        genotype = genotype.genotype
    splits = _splits(train, val, test, augment, task, settings)
    point = genotype if isinstance(genotype, Genotype) else None
    chosen = {"genotype": "" if point else str(genotype), "run": _run(run), "allow": _as_list(allow)}
    typed: dict[str, object] = {}
    if splits is not None or data is not None:
        typed |= _data("digits" if data is None else data, splits, task)
    if recipe is not None:
        typed |= _group("recipe", recipe)
    given = merged(typed, chosen, _named(task), _plain(settings))
    config = inheriting(given, run_of_search if isinstance(run_of_search, str | Path) else None, point)
    own = _space_of(genotype, space, config.allow)
    return run_retrain(config, genotype=point, space=own, splits=splits, task=_own(task), in_folder=run is not None)


def export_model(trained: Retrained, folder: str | Path) -> Path:
    """Write the network to a folder that timm opens after `import supernet.timm_models`.

    `timm.create_model("local-dir:FOLDER", pretrained=True)`. The README.md of a network of one's own says how that is
    loaded. Raises SupernetError where `folder` holds something else, or where timm opens it to other outputs.
    """
    if not isinstance(trained, Retrained):
        raise SupernetError(f"export_model takes what supernet.retrain returns, not {type(trained).__name__}")
    if trained.genotype.space not in SPACES:
        return export_retrained(trained, folder)
    from . import timm_models  # noqa: F401  # registers the names by which the check opens the folder

    return export_retrained(trained, folder, check=lambda written: check_reopens(written, trained.model))


def _is_file(space: str | Path) -> bool:
    return isinstance(space, Path) or is_yaml(space)


def _space_of(genotype: Genotype | str | Path, space: SpaceLike | None, allow: Sequence[str]) -> Space | None:
    """The space that was handed over, which must have `genotype` as a point; None: the genotype's own."""
    if space is None:
        return None
    point, _ = find_genotype(genotype)
    if isinstance(space, str | Path):
        if not _is_file(space) and space == point.space and space in SPACES:
            return None  # with the arguments that the genotype names
        space = load_space(space, allow) if _is_file(space) else get_space(str(space))
    elif not isinstance(space, Space):
        space = Space(space)
    space.validate(point)
    return space


def _as_list(allow: str | Sequence[str]) -> str | Sequence[str]:
    """`allow` as the settings take it, where a text stands for itself; they refuse what is neither."""
    return list(allow) if isinstance(allow, tuple) else allow


def _splits(
    train: object, val: object, test: object, augment: Augment | None, task: Task | str | None, settings: Settings
) -> Splits | None:
    """The data that were handed over, or None where a named data set is to be read."""
    if train is None:
        others = {"val": val, "test": test, "augment": augment}
        for name in (key for key, value in others.items() if value is not None):
            raise SupernetError(f"{name} is given without train; give train too, or leave it out to use data=...")
        return None
    seed = settings.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SupernetError(f"seed={seed!r} must be a whole number")
    if isinstance(task, str):
        require_name(task)  # before the data are read for it
        task = None if task == AUTO else task
    name = "classification" if task is None else task if isinstance(task, str) else name_of(task)
    outputs = None if task is None or isinstance(task, str) else task.outputs
    classes = task is None or task == "classification"
    return from_arrays(train, val, test, augment=augment, seed=seed, classes=classes, task=name, outputs=outputs)


def _named(task: Task | str | None) -> dict[str, object]:
    """The setting that a task by its name is."""
    return {"task": task} if isinstance(task, str) else {}


def _own(task: Task | str | None) -> Task | None:
    """A task that was handed over; those by name are made when the data are known."""
    return None if isinstance(task, str) else task


def _group(name: str, chosen: object) -> dict[str, object]:
    """The settings that a part brings, from the top: from its preset's name, a mapping of its own, or its dataclass."""
    if isinstance(chosen, str):
        return preset(name, chosen)
    if is_dataclass(chosen) and not isinstance(chosen, type):
        return {name: dict(vars(chosen))}
    if not isinstance(chosen, Mapping):
        raise SupernetError(f"{name} is a {type(chosen).__name__}; give the name of a preset or its settings")
    return {name: dict(chosen)}


def _data(data: str | Settings, splits: Splits | None, task: Task | str | None) -> dict[str, object]:
    """The settings of the data; those handed over are told apart by augmentation and a digest of a few samples."""
    if splits is None:
        return _group("data", data)
    names = {"augment": repr(splits.augment), "task": task if isinstance(task, str) else type(task).__name__}
    return {"data": {"name": "arrays", "kwargs": {"digest": _digest(splits), **names}}}


def _digest(splits: Splits, most: int = 64) -> str:
    views = splits.for_search()
    digest = hashlib.sha256()
    for view in views:
        chosen = view.index[np.linspace(0, len(view) - 1, num=min(most, len(view)), dtype=np.int64)]
        images, targets = view.source.fetch(chosen, None)
        digest.update(f"{len(view)} {tuple(images.shape)}".encode())
        digest.update(images.numpy().tobytes() + targets.numpy().tobytes())
    return digest.hexdigest()[:16]


def _run(run: object) -> dict[str, object]:
    if run is None:
        return {}
    if not isinstance(run, str | os.PathLike):
        raise SupernetError(f'run={run!r:.60}: run is the folder of the run, such as run="runs/mine"')
    path = Path(run)
    return {"root": str(path.parent), "name": path.name}


def _plain(settings: Settings) -> dict[str, object]:
    """Plain values of the settings: dataclasses of `supernet.config` serve as groups too."""
    return {k: vars(v) if is_dataclass(v) and not isinstance(v, type) else v for k, v in settings.items()}
