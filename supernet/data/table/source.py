"""Pictures by a table: data.root is their folder, data.labels a CSV file of their names and what is to be predicted.

    image,label          image,cat,dog        image,price         image,mask            image,label,split
    a/1.png,cat          1.png,1,0            1.png,12.5          1.png,m/1.png         1.png,cat,train
    a/2.png,dog          2.png,1,1            2.png,8             2.png,m/2.png         2.png,dog,test

`columns.py` says which column is what, `targets.py` and `masks.py` what becomes of the cells. A column `split` has
train, val or test in each row. Without it all rows are training rows, of which a search and a retraining cut their
part, and nothing is tested. What is wrong with the table is said in one line that names the file and its line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...config import DataConfig
from ...errors import SupernetError
from ...files import JSON
from ..augment import IGNORE, Augment
from ..folder import IMAGE_SIZE, crop_scale_of
from ..pictures import pillow_mode
from ..registry import DATASETS, DataSet, data_root, no_kwargs, per_channel
from ..sources import FileSource, ImageInfo, Indices, Source, Targets
from ..standard import BY_TASK
from ..verify import check_files
from .columns import SETTINGS, columns_of, parts_of
from .masks import MaskSource, classes_in
from .named_files import files_of
from .rows import read_table
from .targets import SEPARATOR, outputs_of

__all__ = ["csv"]

READY = ("auto", "classification", "multi_label", "regression", "segmentation")
USUAL = {
    task: Augment(pad=row["pad"], flip=bool(row["flip"]), cutout=row["cutout"], masks=task == "segmentation")
    for task, row in BY_TASK["csv"].items()
}


@DATASETS.register("csv")
def csv(config: DataConfig, task: str = "auto") -> DataSet:
    """The pictures of a table, read for `task`; for a task of the user's own as the columns suggest."""
    settings = no_kwargs("csv", config, SETTINGS)
    root = data_root("csv", config)
    pillow_mode(config.in_chans or 3)
    if task == "next_character":
        raise SupernetError("task=next_character is for text, and data=csv has pictures; leave task= out")
    task = task if task in READY else READY[0]
    table = read_table(config)
    columns = columns_of(table, settings)
    parts = parts_of(table, columns.split)
    paths = files_of(table, columns.name, root, once=True)
    if task == "segmentation" or (task == "auto" and not columns.targets):
        masks = files_of(table, table.require(columns.mask or "mask", "data.kwargs.mask"), root, once=False)
        return _with_masks(config, settings, paths, masks, parts)
    if settings.get("classes") is not None:
        raise SupernetError("data.kwargs.classes names the classes of masks; those of labels are called as the labels")
    separator = str(settings.get("separator") or SEPARATOR)
    outputs = outputs_of(table, columns.targets, task, separator, parts["train"])
    scale = crop_scale_of(settings.get("crop_scale"))

    def source(part: str) -> FileSource:
        rows = parts[part]
        return _pictures(config, paths, rows, outputs.values[rows], scale if part == "train" else None)

    data = _data_set(config, outputs.task, outputs.names, outputs.seen, source, parts, [paths])
    if outputs.task != "regression":
        return data
    trained = outputs.values[parts["train"]].astype(np.float64)
    means, deviations = tuple(trained.mean(0).tolist()), tuple(trained.std(0).tolist())
    return replace(data, info=replace(data.info, target_mean=means, target_std=deviations))


def _with_masks(
    config: DataConfig,
    settings: Mapping[str, object],
    paths: Sequence[str],
    masks: Sequence[str],
    parts: Mapping[str, Indices],
) -> DataSet:
    if settings.get("crop_scale") is not None:
        raise SupernetError("data.kwargs.crop_scale would cut pictures without their masks; leave it out")
    seen: dict[str, JSON] = {}
    if (named := settings.get("classes")) is not None:
        if not isinstance(named, list | tuple) or len({*map(str, named)}) < max(len(named), 2):
            raise SupernetError(
                f"data.kwargs.classes={str(named)[:60]} must be a list of two names or more, such as [a,b]"
            )
        names = tuple(map(str, named))
    else:
        learned, chosen_by = (classes_in([masks[row] for row in parts.get(part, ())]) for part in ("train", "val"))
        if len(learned) < 2:
            raise SupernetError(
                f"the masks of the training rows have the classes: {', '.join(map(str, learned)) or 'none'}; {IGNORE} "
                "stands for pixels that do not count, so write the classes as 0, 1, 2 ..."
            )
        names = tuple(map(str, range(max(*learned, *chosen_by) + 1)))
        seen = {name: learned.get(int(name), 0) for name in names}

    def source(part: str) -> MaskSource:
        rows = parts[part]
        pictures = _pictures(config, paths, rows, np.zeros(len(rows), dtype=np.int64), None)
        return MaskSource(pictures, [masks[row] for row in rows.tolist()], len(names))

    return _data_set(config, "segmentation", names, seen, source, parts, [paths, masks])


def _pictures(
    config: DataConfig, paths: Sequence[str], rows: Indices, targets: Targets, scale: tuple[float, float] | None
) -> FileSource:
    chosen = [paths[row] for row in rows.tolist()]
    return FileSource(chosen, targets, config.image_size or IMAGE_SIZE, config.in_chans or 3, scale)


def _data_set(
    config: DataConfig,
    task: str,
    names: tuple[str, ...],
    seen: Mapping[str, JSON],
    source: Callable[[str], Source],
    parts: Mapping[str, Indices],
    files: Sequence[Sequence[str]],
) -> DataSet:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    in_chans = config.in_chans or 3
    learned = [row for part, rows in parts.items() if part != "test" for row in rows.tolist()]
    augment = replace(USUAL[task], mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    augment = per_channel(augment, in_chans)
    info = ImageInfo(
        name="csv", task=task, num_classes=len(names), class_names=names, in_chans=in_chans,
        image_size=config.image_size or IMAGE_SIZE, mean=augment.mean, std=augment.std,
    )  # fmt: skip
    return DataSet(
        info=info,
        train=source("train"),
        val=source("val") if "val" in parts else None,
        augment=augment,
        open_test=(lambda: source("test")) if "test" in parts else None,
        check=lambda: check_files([column[row] for column in files for row in learned]),
        outputs=seen,
    )
