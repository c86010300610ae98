"""What the stages that train have in common: the data, the task, the run folder, the loop."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from .. import files
from ..config import RetrainConfig, SearchConfig
from ..data.loader import Batch
from ..data.splits import Splits, open_data
from ..data.view import View
from ..errors import SupernetError
from ..files import JSON
from ..runs.folder import RunFolder
from ..runs.same_data import compare_or_note, tell_finished
from ..runtime.ranks import Ranks
from ..tasks.task import TASKS, Task
from ..train.loop import Loop, Program
from .stage import Label

__all__ = ["data_of", "folder_of", "loop_of", "open_splits", "run_folder", "task_of"]

log = logging.getLogger(__name__)


class _HasFolder(Protocol):
    @property
    def folder(self) -> Path | None: ...


def folder_of(result: _HasFolder) -> RunFolder:
    """The run folder that a stage has worked in."""
    if result.folder is None:
        raise RuntimeError("the stage ended without a run folder")
    return RunFolder(result.folder)


def open_splits(config: SearchConfig | RetrainConfig, splits: Splits | None, ranks: Ranks) -> Splits:
    """The data of the settings, or `splits`, after checks of what would otherwise end the training hours later."""
    if config.batch_size % ranks.world:
        raise SupernetError(f"batch_size={config.batch_size} must be a multiple of the {ranks.world} ranks")

    def work() -> Splits:
        opened = splits or open_data(config.data, config.seed)
        if ranks.main:
            opened.check()
        return opened

    return ranks.first(work)


def data_of(
    config: SearchConfig | RetrainConfig, stage: str, splits: Splits | None, ranks: Ranks
) -> tuple[Splits, Callable[[RunFolder], None]]:
    """The data, as `open_splits` gives them, and what compares them with those that a run folder began with."""
    opened = open_splits(config, splits, ranks)
    parts: dict[str, View | None]
    if isinstance(config, SearchConfig):
        parts = dict(zip(("weights", "alphas"), opened.for_search(config.alpha_share), strict=True))
    else:
        parts = dict(zip(("training", "validation"), opened.for_retrain(config.val_fraction), strict=True))
    about = opened.about(parts)
    if ranks.main:
        log.info("%s", _in_words(about))

    def check(run: RunFolder) -> None:
        compare_or_note(run, config.data, stage, opened, own=splits is not None)
        if not run.finished:
            files.write_json(run.path / "data.json", about)
        if run.finished:
            tell_finished(run)

    return opened, check


def _in_words(about: Mapping[str, JSON]) -> str:
    """One line about the data, of what `Splits.about` gives."""
    classes, samples, image = about["classes"], about["samples"], about["image"]
    assert isinstance(classes, dict) and isinstance(samples, dict) and isinstance(image, list)
    some = ", ".join(f"{name} {count}" for name, count in list(classes.items())[:4])
    more = f"{len(classes)} classes ({some}{' ...' if len(classes) > 4 else ''}); " if classes else ""
    cut = ", ".join(f"{count} for {name}" for name, count in samples.items())
    size = "x".join(map(str, image[1:]))
    return (
        f"data {about['name']}: {more}{cut}; test: {about['test']}; {size} pixels, {image[0]} channels; augmentation: "
        f"{about['augmentation']}"
    )


def task_of(splits: Splits, smoothing: float = 0.0) -> Task:
    """The task that the data set names; `smoothing` of labels in [0, 1)."""
    if splits.info.num_classes == 0 and splits.info.task == "classification":
        raise SupernetError(
            "the targets name no classes (they are floats, or several numbers a sample), so this is no classification; "
            "give whole numbers or texts as labels, or a task of your own (task=...)"
        )
    task: Task = TASKS[splits.info.task](splits.info.num_classes, smoothing=smoothing)
    return task


@contextmanager
def run_folder(
    config: SearchConfig | RetrainConfig,
    stage: str,
    label: Label,
    in_folder: bool,
    ranks: Ranks,
    data: Callable[[RunFolder], None],
) -> Iterator[RunFolder | None]:
    """The run folder, held against other processes while the stage works in it; the main rank decides which it is.

    There `data` compares the data with those of the run. A new folder goes again where the stage fails before it has
    trained anything.
    """
    if not in_folder:
        yield None
        return
    if ranks.restarted and config.run.fresh:  # it was fresh when torchrun started it the first time
        config = replace(config, run=replace(config.run, fresh=False))

    def work() -> RunFolder | None:
        if not ranks.main:
            return None
        run = RunFolder.open(config, stage, label.text, prefix=label.prefix, lock=True)
        with _or_discarded(run):
            data(run)
        return run

    with ranks.first(work) or RunFolder(Path()) as run:
        path = ranks.broadcast(str(run.path))
        with _or_discarded(run):
            yield run if ranks.main else RunFolder(path)


@contextmanager
def _or_discarded(run: RunFolder) -> Iterator[None]:
    """Closes the run where the work inside fails, and removes it where it is new and nothing was trained."""
    try:
        yield
    except Exception:
        run.discard()
        raise


def loop_of(
    program: Program[Batch], config: SearchConfig | RetrainConfig, run: RunFolder | None, ranks: Ranks
) -> Loop[Batch]:
    """The loop over `program`, which lives in the folder `run`, or only in memory."""
    if run is not None and ranks.main:
        log.info("run folder: %s", run.path)
    return Loop(program, run=run, checkpoint=config.checkpoint, log_config=config.log, ranks=ranks)
