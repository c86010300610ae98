"""What the stages that train have in common: the data, the task, the run folder, the loop."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from .. import files
from ..config import RetrainConfig, SearchConfig
from ..data.loader import Batch
from ..data.sources import ImageInfo
from ..data.splits import Splits, open_data
from ..data.view import View
from ..errors import SupernetError, short
from ..files import JSON
from ..runs.folder import RunFolder
from ..runs.same_data import compare_or_note, tell_finished
from ..runtime.energy import counter_of
from ..runtime.ranks import Ranks
from ..tasks.regression import Regression
from ..tasks.task import AUTO, TASKS, Task, require_name
from ..train.loop import Loop, Program
from .stage import Label

__all__ = ["data_of", "folder_of", "loop_of", "open_splits", "run_folder", "task_of"]

log = logging.getLogger(__name__)


class _HasFolder(Protocol):
    @property
    def folder(self) -> Path | None: ...


class _OnDevice(Program[Batch], Protocol):
    @property
    def device(self) -> torch.device: ...


def folder_of(result: _HasFolder) -> RunFolder:
    """The run folder that a stage has worked in."""
    if result.folder is None:
        raise RuntimeError("the stage ended without a run folder")
    return RunFolder(result.folder)


def open_splits(config: SearchConfig | RetrainConfig, splits: Splits | None, ranks: Ranks) -> Splits:
    """The data of the settings, or `splits`, after checks of what would otherwise end the training hours later."""
    if config.batch_size % ranks.world:
        raise SupernetError(f"batch_size={config.batch_size} must be a multiple of the {ranks.world} ranks")

    require_name(config.task)  # before the data are read for it

    def work() -> Splits:
        opened = splits or open_data(config.data, config.seed, config.task)
        if ranks.main:
            opened.check()
        return opened

    return ranks.first(work)


def data_of(
    config: SearchConfig | RetrainConfig, stage: str, splits: Splits | None, ranks: Ranks
) -> tuple[Splits, Callable[[RunFolder], str]]:
    """The data, as `open_splits` gives them, and what compares them with those that a run folder began with.

    It gives the line about them.
    """
    opened = open_splits(config, splits, ranks)
    parts: dict[str, View | None]
    if isinstance(config, SearchConfig):
        parts = dict(zip(("weights", "alphas"), opened.for_search(config.alpha_share), strict=True))
    else:
        parts = dict(zip(("training", "validation"), opened.for_retrain(config.val_fraction), strict=True))
    about = opened.about(parts)
    line = _in_words(about)
    if ranks.main:
        log.info("%s", line)

    def check(run: RunFolder) -> str:
        compare_or_note(run, config.data, stage, opened, own=splits is not None)
        if not run.finished:
            files.write_json(run.path / "data.json", about)
        if run.finished:
            tell_finished(run)
        return line

    return opened, check


def _in_words(about: Mapping[str, JSON]) -> str:
    """One line about the data, of what `Splits.about` gives."""
    classes, samples, image, outputs = (about[key] for key in ("classes", "samples", "image", "outputs"))
    assert isinstance(classes, dict) and isinstance(samples, dict) and isinstance(image, list)
    assert isinstance(outputs, dict)
    more = f"{len(classes)} classes ({_some(classes)}); " if classes else ""
    if about["task"] != ImageInfo.task:
        each = f", {len(outputs)} output{'s' * (len(outputs) > 1)} ({_some(outputs)})" if outputs else ""
        more = f"task {about['task']}{each}; "
    cut = ", ".join(f"{count} for {name}" for name, count in samples.items())
    size = "x".join(map(str, image[1:]))
    return (
        f"data {about['name']}: {more}{cut}; test: {about['test']}; {size} pixels, {image[0]} channels; augmentation: "
        f"{about['augmentation']}"
    )


def _some(values: Mapping[str, JSON], most: int = 4) -> str:
    """The first of named counts, and of named ranges."""
    texts = [
        f"{short(name, 40)} {f'{value[0]:.4g} to {value[1]:.4g}' if isinstance(value, list) else value}"
        for name, value in list(values.items())[:most]
    ]
    return ", ".join(texts) + (" ..." if len(values) > most else "")


def task_of(splits: Splits, name: str = AUTO, smoothing: float = 0.0) -> Task:
    """The task of this name, or "auto" the one that the data name; `smoothing` of labels in [0, 1)."""
    kind = splits.info.task if name == AUTO else name
    if splits.info.num_classes == 0 and kind == "classification":
        raise SupernetError(
            "the targets name no classes (they are floats, or several numbers a sample), so this is no classification; "
            "give whole numbers or texts as labels, or a task of your own (task=...)"
        )
    task: Task = TASKS[kind](splits.info.num_classes, smoothing=smoothing)
    if isinstance(task, Regression):
        task = replace(task, mean=splits.info.target_mean, deviation=splits.info.target_std)
    return task


@contextmanager
def run_folder(
    config: SearchConfig | RetrainConfig,
    stage: str,
    label: Label,
    in_folder: bool,
    ranks: Ranks,
    data: Callable[[RunFolder], str],
) -> Iterator[RunFolder | None]:
    """The run folder, held against other processes while the stage works in it; the main rank decides which it is.

    There `data` compares the data with those of the run, and says what they are; from then on run.log is written. A new
    folder goes again where the stage fails before it has trained anything.
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
            about = data(run)
            if not run.finished:
                run.begin_texts(about)
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
    program: _OnDevice,
    config: SearchConfig | RetrainConfig,
    run: RunFolder | None,
    ranks: Ranks,
    after_epoch: Callable[[], None],
) -> Loop[Batch]:
    """The loop over `program`, which lives in the folder `run`, or only in memory."""
    if run is not None and ranks.main:
        log.info("run folder: %s", run.path)
    return Loop(
        program,
        run=run,
        checkpoint=config.checkpoint,
        log_config=config.log,
        ranks=ranks,
        after_epoch=after_epoch,
        energy=counter_of(program.device) if run is not None and ranks.world == 1 else None,
    )
