"""A search as a function: open the data, build what is trained, run the loop, write the result."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import SearchConfig
from ..data.splits import Splits
from ..methods import Method
from ..network import Supernet, make_executor
from ..network.executor.fused import Fused
from ..network.margins import UNDECIDED, decided, margins
from ..report.notebook import epochs_of, result_html, result_text
from ..report.tensorboard import show_supernet
from ..runs.folder import as_begun, is_begun
from ..runs.meanings import undecided
from ..runtime.device import pick, seed_everything
from ..runtime.out_of_memory import as_configured
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..space.genotype import JSON
from ..tasks.task import Task
from ..train.compatibility import refuse_idle_cells
from ..train.course import Course
from ..train.phases import planned
from ..train.search import SearchProgram
from ..version import versions
from .labels import label_of_search
from .report.reporter import Reporter
from .running import data_of, loop_of, run_folder, task_of
from .space_config import configured, keep, label_of, label_of_own

__all__ = ["Searched", "check_parts", "run_search"]


log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Searched:
    """What a search gives. `metrics` are those of its last epoch; `done` is False where it was told to stop early."""

    genotype: Genotype
    net: Supernet
    metrics: Mapping[str, float]
    seconds: float
    done: bool
    folder: Path | None
    history: Sequence[Mapping[str, object]] = ()  # the metrics of each epoch that ended in this process

    def __repr__(self) -> str:
        return result_text("Searched", self.genotype, self.metrics, self.done, self.folder)

    def _repr_html_(self) -> str:
        """What a notebook shows: the cells, each decision with its margin, and the epochs."""
        rows = epochs_of(self.folder, self.history)
        space = self.net.space
        decisions = margins(space, self.net.strengths(), self.net.masks())
        return result_html("search", space, self.genotype, self.metrics, rows, decisions)


@as_configured
def run_search(
    config: SearchConfig,
    *,
    space: Space | None = None,
    splits: Splits | None = None,
    task: Task | None = None,
    in_folder: bool = True,
    until: int | None = None,
) -> Searched:
    """Search to the end, or to step `until`; resumes where the run folder has a checkpoint.

    A space, data and a task may be handed over that the settings cannot name. With `in_folder` the search lives in a
    run folder; a finished one only gives its result. Raises SupernetError for settings that do not fit together.
    """
    ranks = Ranks.join()
    device = ranks.device(pick(config.device))
    label = label_of_search(config, label_of_own(space) if space is not None else label_of(config.space))
    if in_folder:
        config = as_begun(config, "search", label.text, prefix=label.prefix)
    space = space or configured(config.space)
    cautions = check_parts(config, space)
    if not (in_folder and is_begun(config, "search", label.text, prefix=label.prefix)):
        refuse_idle_cells(space, config.network, Course(planned(config, Method(config.method))))
    splits, same_data = data_of(config, "search", splits, ranks)
    task = task or task_of(splits, config.task)
    with run_folder(config, "search", label, in_folder, ranks, same_data) as run:
        finished = run is not None and run.finished
        if run is not None and ranks.main:
            keep(space, run.path)
        _warn(() if finished or not ranks.main else cautions)
        seed_everything(config.seed)
        program = SearchProgram(config, space, splits, task, device, ranks, show=show_supernet)
        reporter = Reporter(run, config.log, space, ranks.main)
        outcome = loop_of(program, config, run, ranks, reporter.epoch).run(until)
        genotype = program.result(outcome.last, _main_versions())
        if run is not None and finished:
            genotype = Genotype.load(run.genotype_path)
        elif run is not None and outcome.done and ranks.main:
            genotype.save(run.genotype_path)
            about = {"genotype": genotype.hash, "metrics": outcome.last, "best": outcome.best, "selects": task.selects}
            decisions = {"closest": program.closest(), "margins": program.margins()}
            notes = _notes(program, config, genotype)
            run.finish({**about, "seconds": outcome.seconds, **decisions, "note": notes})
            reporter.end()
        ranks.barrier()  # what the main rank has written is there for all of them
        return Searched(
            genotype,
            program.net,
            outcome.last,
            outcome.seconds,
            outcome.done,
            run.path if run is not None else None,
            outcome.history,
        )


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        log.warning("%s", line)


def _notes(program: SearchProgram, config: SearchConfig, genotype: Genotype) -> list[str]:
    """What a reader of the result must know: alphas that have decided nothing, and a network that passes nothing on."""
    share = decided(program.space, program.net.strengths(), program.net.masks())
    unsure = share < UNDECIDED and program.phases.method.alphas_move
    notes = [undecided(share, config.epochs, config.alphas.lr)] if unsure else []
    if why := program.dead(genotype):
        offer = (
            "no live one is near it" if config.dead_cells == "neighbour" else "dead_cells=neighbour takes a live one"
        )
        notes.append(f"{why}; {offer}")
    _warn(notes)
    return notes


def check_parts(config: SearchConfig, space: Space) -> list[str]:
    """Unknown names, and parts that do not go together, are refused before a run folder is made.

    Gives what a user should read about parts that may surprise.
    """
    method, executor = Method(config.method), make_executor(config.executor)
    method.check(space, executor)
    planned(config, method)
    if isinstance(executor, Fused):
        executor.check(torch.empty(1, device=pick(config.device)))
    return method.fits(config)


def _main_versions() -> dict[str, JSON]:
    """The versions that a genotype's origin names."""
    everything = versions()
    return {"supernet": everything["supernet"], "torch": everything["torch"], "python": everything["python"]}
