"""The scores of architectures: by retraining each in an ordinary run, or from a table of the space."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ... import cost
from ...errors import SupernetError, unknown
from ...evaluate.table import Table
from ...runs.folder import RunFolder
from ...runs.shapes import RETRAINED
from ...space import Genotype, Space
from ...tasks.task import TASKS
from ..space_config import keep
from .jobs import Job, Outcome, run_jobs
from .plan import Row

__all__ = ["Asked", "ByRetraining", "FromTable", "Score", "Scorer"]

log = logging.getLogger(__name__)

SMALLER = ("loss", "error", "mae")  # parts of the names of metrics of which less is better


@dataclass(frozen=True)
class Asked:
    """An architecture whose score is asked for, at a seed; `where` is a run folder that holds it, if one does."""

    name: str  # for whoever watches
    genotype: Genotype
    seed: int
    where: Path | None = None


@dataclass(frozen=True)
class Score:
    """What an architecture is worth, and what that has cost."""

    value: float
    parameters: int
    seconds: float = 0.0
    folder: Path | None = None


class Scorer(Protocol):
    """Scores architectures; a text in place of a score says why there is none."""

    metric: str
    maximise: bool

    def scores(self, asked: Sequence[Asked]) -> "list[Score | Outcome]": ...

    def parameters(self, genotype: Genotype) -> int: ...

    def knows(self, genotype: Genotype) -> bool:
        """Whether the point can be scored at all."""
        ...


class FromTable:
    """Rows of a table; nothing is trained."""

    def __init__(self, table: Table, metric: str | None, network: Mapping[str, object]) -> None:
        """`metric` None is the table's own; `network` has the arguments by which parameters are counted."""
        self.table, self.metric = table, metric or table.binding.score
        if self.metric not in table.binding.metrics:
            raise SupernetError(unknown("metric in score:", self.metric, table.binding.metrics))
        self.maximise = table.binding.metrics[self.metric].direction == "max"
        self._network = dict(network)

    def parameters(self, genotype: Genotype) -> int:
        """The table's count, where it has one; else of the network of the settings."""
        counted = self.table.parameters(genotype)
        return counted if counted is not None else _parameters(self.table.space, genotype, self._network)

    def scores(self, asked: Sequence[Asked]) -> list[Score | Outcome]:
        """One for each, in their order; a point without a row has an outcome that says so."""
        return [self._score(one) for one in asked]

    def knows(self, genotype: Genotype) -> bool:
        return genotype in self.table

    def _score(self, asked: Asked) -> Score | Outcome:
        try:
            return Score(self.table[asked.genotype][self.metric], self.parameters(asked.genotype))
        except SupernetError as error:
            return Outcome(None, f"{asked.name}: {error}", mistake=True)


class ByRetraining:
    """Each architecture trained from scratch by the one recipe of a row, at the seed of its search."""

    def __init__(self, row: Row, space: Space, metric: str | None, jobs: int, folder: Path) -> None:
        """`metric` None is that of the test split, else of the validation part, by which the task selects.

        `folder` keeps the genotypes that no run holds, and what processes say.
        """
        self.metric, self.maximise = metric or "", True
        self._row, self._space, self._jobs, self._folder = row, space, jobs, folder
        self._arguments: Mapping[str, object] | None = None

    def parameters(self, genotype: Genotype) -> int:
        """Of the network that retraining makes; known once something was retrained."""
        if self._arguments is None:
            raise RuntimeError("nothing was retrained yet, so the network's arguments are not known")
        return _parameters(self._space, genotype, self._arguments)

    def scores(self, asked: Sequence[Asked]) -> list[Score | Outcome]:
        """One for each, in their order; what failed or was stopped has an outcome that says why."""
        from ..retrain import STAGE

        jobs = []
        for one in asked:
            where = one.where or self._written(one.genotype)
            dead = bool(self._space.dead(one.genotype))
            config, words = self._row.retrain_at(where, one.seed, dead=dead)
            jobs.append(Job(one.name, STAGE, config, tuple(words)))
        outcomes = run_jobs(jobs, self._jobs, self._folder / "logs")
        return [outcome if outcome.run is None else self._score(outcome.run) for outcome in outcomes]

    def knows(self, genotype: Genotype) -> bool:
        return True

    def _written(self, genotype: Genotype) -> Path:
        """The genotype as a file, with its space beside it where that is not registered."""
        folder = self._folder / "cells"
        folder.mkdir(parents=True, exist_ok=True)
        keep(self._space, folder)
        path = folder / f"{genotype.hash}.json"
        if not path.exists():
            genotype.save(path)
        return path

    def _score(self, run: RunFolder) -> Score:
        result = run.trained(RETRAINED)
        self._arguments = {key: value for key, value in result["arguments"].items() if key != "auxiliary"}
        metrics, selects = result["metrics"], str(result.get("selects", "top1"))
        if not self.metric:
            self.metric = next(name for name in (f"test/{selects}", f"val/{selects}") if name in metrics)
        self.maximise = _maximised(self.metric.rpartition("/")[2])
        if self.metric not in metrics:
            raise SupernetError(unknown(f"metric of {run.path} in score:", self.metric, metrics))
        return Score(float(metrics[self.metric]), int(result["parameters"]), float(result["seconds"]), run.path)


def _maximised(metric: str) -> bool:
    """Whether a larger value of a task's metric is better; of those by which no task selects, by their names."""
    known = {task.selects: task.maximise for task in (TASKS[name](2) for name in TASKS)}
    return known.get(metric, not any(word in metric for word in SMALLER))


def _parameters(space: Space, genotype: Genotype, arguments: Mapping[str, object]) -> int:
    return cost.parameters(genotype, space=space, **arguments)
