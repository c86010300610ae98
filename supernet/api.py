"""The toolkit in a notebook: search, retrain and export as functions of data at hand.

    found = supernet.search("darts", train, val, epochs=10, network={"channels": 8, "layers": 5})
    trained = supernet.retrain(found.genotype, train, val, test, epochs=30)
    supernet.export_model(trained, "my-model")

Settings have the names of the command line (`supernet search --cfg job` prints them); groups are mappings.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .errors import SupernetError
from .export import export_model as _export_folder
from .presets import preset
from .report.space import card_pictures
from .space import SPACES, Genotype, Space
from .train.config import RetrainConfig, SearchConfig, from_mapping
from .train.data.arrays import from_arrays
from .train.data.augment import Augment
from .train.data.splits import Splits
from .train.stages import Retrained, Searched, run_retrain, run_search
from .train.task import Task

__all__ = ["export_model", "retrain", "search"]

Settings = Mapping[str, Any]


def search(
    space: str | Space | type[nn.Module] = "darts",
    train: Any = None,
    val: Any = None,
    *,
    method: str | Settings = "darts_first_order",
    data: str | Settings = "digits",
    augment: Augment | None = None,
    task: Task | None = None,
    run: str | Path | None = None,
    **settings: Any,
) -> Searched:
    """Search `space` on `train` (and `val` for the alphas, else a part of `train`); without data on the set `data`.

    `space` is a registered name, a YAML file, a `Space`, or a network class with choices in it. `train` and `val` are
    map-style data sets of (image, target), or pairs of arrays (images [N, C, H, W], targets [N]). `method` is a name of
    a preset or its settings. `run` names a folder in which the search lives and is resumed; without it nothing is
    written.
    Raises SupernetError for unknown names and settings.
    """
    is_file = isinstance(space, str) and space.endswith((".yaml", ".yml"))
    spaces: dict[str, Any] = {"space": {"file" if is_file else "name": space}} if isinstance(space, str) else {}
    if not isinstance(space, str | Space):
        space = Space(space)  # refuses what makes no network
    splits = _splits(train, val, None, augment, settings)
    chosen = _group("method", method)
    values = {**spaces, "method": chosen, "data": _data(data, splits, task), "run": _run(run), **_plain(settings)}
    config = from_mapping(SearchConfig, values)
    own = None if isinstance(space, str) else space
    return run_search(config, space=own, splits=splits, task=task, in_folder=run is not None)


def retrain(
    genotype: Genotype | Searched | str | Path,
    train: Any = None,
    val: Any = None,
    test: Any = None,
    *,
    space: Space | None = None,
    recipe: str | Settings = "digits",
    data: str | Settings = "digits",
    augment: Augment | None = None,
    task: Task | None = None,
    run: str | Path | None = None,
    **settings: Any,
) -> Retrained:
    """Train the network of `genotype` (or what a search gave, a file, a run folder, a published name) from scratch.

    Selection reads `val`, or a part of `train`; `test` is read once, at the end. `space` is needed for a network of
    your own. `recipe` is a preset's name or its settings. Otherwise as `search`.
    """
    if isinstance(genotype, Searched):
        found = genotype.net.space
        space = space or (found if found.factory is not None or found.name not in SPACES else None)
        genotype = genotype.genotype
    splits = _splits(train, val, test, augment, settings)
    chosen = _group("recipe", recipe)
    reference = "" if isinstance(genotype, Genotype) else str(genotype)
    values = {
        "genotype": reference,
        "recipe": chosen,
        "data": _data(data, splits, task),
        "run": _run(run),
        **_plain(settings),
    }
    config = from_mapping(RetrainConfig, values)
    given = genotype if isinstance(genotype, Genotype) else None
    return run_retrain(config, genotype=given, space=space, splits=splits, task=task, in_folder=run is not None)


def export_model(trained: Retrained, folder: str | Path) -> Path:
    """Write the network to a folder that timm opens after `import supernet.timm_models`.

    `timm.create_model("local-dir:FOLDER", pretrained=True)`. Raises SupernetError where `folder` holds something else.
    """
    if not isinstance(trained, Retrained):
        raise SupernetError(f"export_model takes what supernet.retrain returns, not {type(trained).__name__}")
    return _export_folder(
        trained.model,
        trained.genotype,
        folder,
        arguments=dict(trained.arguments),
        data=dict(trained.data),
        metrics=dict(trained.metrics),
        pictures=card_pictures(trained.genotype),
    )


def _splits(train: Any, val: Any, test: Any, augment: Augment | None, settings: Settings) -> Splits | None:
    """The data that were handed over, or None where a named data set is to be read."""
    if train is None:
        given = {"val": val, "test": test, "augment": augment}
        for name in (key for key, value in given.items() if value is not None):
            raise SupernetError(f"{name} is given without train; give train too, or leave it out to use data=...")
        return None
    seed = settings.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SupernetError(f"seed={seed!r} must be a whole number")
    return from_arrays(train, val, test, augment=augment, seed=seed)


def _group(name: str, chosen: str | Settings | Any) -> dict[str, Any]:
    """The settings of a part, from its preset's name, a mapping or its dataclass."""
    if isinstance(chosen, str):
        return preset(name, chosen)
    if is_dataclass(chosen) and not isinstance(chosen, type):
        return dict(vars(chosen))
    if not isinstance(chosen, Mapping):
        raise SupernetError(f"{name} is a {type(chosen).__name__}; give the name of a preset or its settings")
    return dict(chosen)


def _data(data: str | Settings, splits: Splits | None, task: Task | None) -> dict[str, Any]:
    """The group `data`; what was handed over is told apart by its augmentation and a digest of a few samples."""
    if splits is None:
        return _group("data", data)
    told = {"augment": repr(splits.augment), "task": type(task).__name__}
    return {"name": "arrays", "kwargs": {"digest": _digest(splits), **told}}


def _digest(splits: Splits, most: int = 64) -> str:
    views = splits.for_search()
    digest = hashlib.sha256()
    for view in views:
        chosen = view.index[np.linspace(0, len(view) - 1, num=min(most, len(view)), dtype=np.int64)]
        images, targets = view.source.fetch(chosen, None)
        digest.update(f"{len(view)} {tuple(images.shape)}".encode())
        digest.update(images.numpy().tobytes() + targets.numpy().tobytes())
    return digest.hexdigest()[:16]


def _run(run: str | Path | None) -> dict[str, Any]:
    if run is None:
        return {}
    path = Path(run)
    return {"root": str(path.parent), "name": path.name}


def _plain(settings: Settings) -> dict[str, Any]:
    """Plain values of the settings: dataclasses of `supernet.train.config` serve as groups too."""
    return {k: vars(v) if is_dataclass(v) and not isinstance(v, type) else v for k, v in settings.items()}
