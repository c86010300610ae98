"""Who reads what: weights and alphas share the training split, selection has a part, the test split has a gate."""

# N samples

import dataclasses
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..config import DataConfig
from ..counter import permutation
from ..errors import ClosedSplitError, SupernetError
from ..files import JSON
from . import cluttered, digits, folder, text, timm_named, torchvision_named
from .augment import Augment
from .registry import DATASETS, DataSet
from .sources import ImageInfo, Indices, Source
from .standard import entry_of
from .table import source as table
from .view import View

__all__ = ["Splits", "open_data"]

log = logging.getLogger(__name__)

_ENTRIES = (cluttered, digits, folder, table, text, timm_named, torchvision_named)  # imported to fill the registry


def open_data(config: DataConfig, seed: int, task: str = "auto") -> "Splits":
    """The splits of the data set that `config` names; a name with a slash is one of timm's.

    Where targets can be read in several ways, `task` says for which task; "auto" takes what they look like. Reads
    the training split only. Raises SupernetError for an unknown name and for data that are missing or empty.
    """
    entry = DATASETS[entry_of(config.name)]
    data = entry(config, task=task) if "task" in inspect.signature(entry).parameters else entry(config)
    settings = {key: getattr(config, key) for key in ("pad", "flip", "cutout")}
    augment = dataclasses.replace(data.augment, **{key: value for key, value in settings.items() if value is not None})
    return Splits(dataclasses.replace(data, augment=augment), seed, config.limit)


class Splits:
    """The splits of one data set under one seed.

    `info` describes the data, `augment` is the augmentation of training, `limit` keeps the first N training samples of
    a counted permutation. Cuts are counted from the seed and stratified by class: a class with two samples or more is
    in both parts.
    """

    def __init__(self, data: DataSet, seed: int, limit: int | None = None) -> None:
        self.info: ImageInfo = data.info
        self.augment: Augment = data.augment
        self.seed = seed
        self._limit = limit
        self._data = data
        self._gate = "closed"
        pool = np.arange(len(data.train), dtype=np.int64)
        if limit is not None and limit < len(pool):
            pool = np.sort(permutation(seed, "split/limit", 0, len(pool))[:limit])
        self._train = View(data.train, pool, data.augment)
        if self._of_classes:
            _warn_of_empty_classes(self._train, data.info, limit)

    @property
    def _of_classes(self) -> bool:
        """Whether whole numbers as targets are the numbers of classes."""
        return self.info.task == ImageInfo.task

    def again(self) -> "Splits":
        """The same splits with a gate of their own, for another network."""
        return Splits(self._data, self.seed, self._limit)

    def about(self, parts: Mapping[str, View | None]) -> dict[str, JSON]:
        """The data in plain values: the task, the samples of each of `parts`, the size, the augmentation.

        Classes have their counts, other outputs what `DataSet.outputs` says of them.
        """
        counts: dict[str, JSON] = {}
        if self._of_classes and self._train.labels is not None and self.info.class_names:
            numbers = np.bincount(self._train.labels, minlength=len(self.info.class_names)).tolist()
            counts = dict(zip(self.info.class_names, numbers, strict=True))
        return {
            "name": self.info.name,
            "task": self.info.task,
            "classes": counts,
            "outputs": dict(self._data.outputs),
            "samples": {name: len(view) for name, view in parts.items() if view is not None},
            "test": "read once, at the end" if self.has_test else "none: nothing is tested",
            "image": [self.info.in_chans, self.info.image_size, self.info.image_size],
            "augmentation": self.augment.words(self.info.image_size),
        }

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; known without reading it."""
        return self._data.open_test is not None

    def sources(self, *, test: bool) -> dict[str, Source]:
        """What the splits are read from, by name, to tell whether data are the same; nothing may be learned from it."""
        named = {"train": self._data.train, "val": self._data.val}
        if test and self._data.open_test is not None:
            named["test"] = self._data.open_test()
        return {name: source for name, source in named.items() if source is not None}

    def check(self) -> None:
        """Looks for damaged files and for classes that differ between splits; stages do so before they train.

        Raises SupernetError. The test split stays closed: of it, only the names of the classes are read.
        """
        if self._data.check is not None:
            self._data.check()

    def for_search(self, alpha_share: float = 0.5) -> tuple[View, View]:
        """The disjoint parts for weights and for alphas; `alpha_share` of the samples, in (0, 1), go to the alphas.

        Alphas learn from the user's own validation split instead where one was given.
        """
        if self._data.val is not None:
            return self._train, _whole(self._data.val, self.augment)
        return self._cut("split/alphas", alpha_share, "alpha_share")

    def for_retrain(self, val_fraction: float = 0.1) -> tuple[View, View | None]:
        """Training and validation parts; the second is None for `val_fraction` 0, in [0, 1)."""
        if self._data.val is not None:
            return self._train, _whole(self._data.val, self.augment)
        return self._cut("split/val", val_fraction, "val_fraction") if val_fraction else (self._train, None)

    @contextmanager
    def final_evaluation(self) -> Iterator[None]:
        """Opens the test split, once; a second time raises ClosedSplitError, because the first has shown the answer."""
        if self._gate != "closed":
            raise ClosedSplitError(
                "the final evaluation has been entered before; the test split opens once for each run"
            )
        self._gate = "open"
        try:
            yield
        finally:
            self._gate = "spent"

    def test(self) -> View:
        """The test split; raises ClosedSplitError outside `final_evaluation`, and SupernetError where there is none."""
        if self._gate != "open":
            raise ClosedSplitError("the test split is closed; only `with splits.final_evaluation():` opens it, once")
        if self._data.open_test is None:
            raise SupernetError(f"data set {self.info.name!r} has no test split; add a folder test/ or give test=...")
        view = _whole(self._data.open_test(), self.augment)
        labels = view.labels if self._of_classes else None
        if labels is not None and len(view) and int(labels.max()) >= max(self.info.num_classes, 1):
            raise SupernetError(
                f"the test split has the label {int(labels.max())}; "
                f"training has the classes 0..{self.info.num_classes - 1}"
            )
        return view

    def _cut(self, stream: str, share: float, key: str) -> tuple[View, View]:
        n = len(self._train)
        if n < 2:
            raise SupernetError(f"{key}={share} cannot cut {n} training sample in two; raise data.limit or add images")
        second = _stratified(permutation(self.seed, stream, 0, n), self._train.labels, share)
        first = np.setdiff1d(np.arange(n, dtype=np.int64), second)
        return self._train.subset(first), self._train.subset(second)


def _warn_of_empty_classes(train: View, info: ImageInfo, limit: int | None) -> None:
    """A class without a sample is never learned: said where `limit` is the reason."""
    if limit is None or train.labels is None:
        return
    there = set(np.unique(train.labels).tolist())
    if missing := [info.class_names[i] for i in range(len(info.class_names)) if i not in there]:
        log.warning(
            "data.limit=%d leaves %d of %d classes without a sample: %s",
            limit, len(missing), len(info.class_names), ", ".join(missing[:6]) + (" ..." if len(missing) > 6 else ""),
        )  # fmt: skip


def _whole(source: Source, augment: Augment) -> View:
    return View(source, np.arange(len(source), dtype=np.int64), augment)


def _stratified(order: Indices, labels: Indices | None, share: float) -> Indices:
    """The positions of the second part, sorted: of each class its `share`, but at least one and never all of it."""
    groups = [order] if labels is None else [order[labels[order] == label] for label in np.unique(labels)]
    groups = [group for group in groups if len(group) > 1] or [order]  # a lone sample stays in the first part
    return np.sort(np.concatenate([g[: min(max(round(share * len(g)), 1), len(g) - 1)] for g in groups]))
