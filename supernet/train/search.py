"""The program of a search: train a supernet bilevel, measure it after each epoch, make the genotype.

A search has one or more phases (methods/phase.py). Each ended epoch is measured and shown to the method's watchers,
whose verdicts are carried out, and a phase that is over gives way to the next, all before the epoch is saved: so a
run's position stays its step alone, and it resumes to the same bits.
"""
# E edges, O operations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import SearchConfig
from ..data.loader import Batch, CountedLoader, CyclingLoader, EvalLoader
from ..data.resident import Residents
from ..data.splits import Splits
from ..methods import Method
from ..methods.look import Ended, Look
from ..methods.problem import BatchName, Problem
from ..network import Supernet
from ..network.entropy import mean_entropy
from ..network.margins import decided, margins
from ..network.mixture import Mixture
from ..runs.log import RunLog
from ..runs.state import State
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..space.genotype import JSON
from ..space.live import live_neighbour
from ..tasks.compare import beats, finite
from ..tasks.task import Task
from .bilevel import BilevelStep
from .captured import CapturedStep
from .compatibility import check_fits
from .course import Course
from .dead import DeadPoints, samples_of
from .loop import Metrics
from .measure import evaluate
from .non_finite import require_finite, samples_without_numbers
from .phases import Phases, planned
from .program import TrainingProgram

__all__ = ["SearchProgram"]

log = logging.getLogger(__name__)

SKIP = "skip_connect"
Show = Callable[[RunLog, int, Supernet, Genotype], None]


class SearchProgram(TrainingProgram):
    """Weights learn from one part of the training split and alphas from the other; the test split stays closed.

    `show` draws the network and its genotype into the log, where something is to be seen.
    """

    stage = "search"

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        splits: Splits,
        task: Task,
        device: torch.device,
        ranks: Ranks | None = None,
        show: Show | None = None,
    ) -> None:
        super().__init__(config.seed, task, device, ranks)
        self.config, self.space = config, space
        method = Method(config.method)
        self.phases = Phases(config, space, splits.info, task, device, self.ranks, Course(planned(config, method)))
        for_weights, for_alphas = splits.for_search(config.alpha_share)
        check_fits(self.net, task, for_weights, device)
        self.refuse_idle(self.bilevel.weights, len(for_weights), config.batch_size)
        self._views = {"train": for_weights, "val": for_alphas}
        share: dict[str, Any] = {"share": self.ranks.share, "device": device, "batch_size": config.batch_size}
        self._shared = share | {"workers": config.data.workers}
        residents = Residents(device, config.data.resident)
        seeded = self._shared | {"seed": config.seed}
        self.train = CountedLoader(for_weights, stream="weights", resident=residents.of(for_weights), **seeded)
        self.alphas = CyclingLoader(
            CountedLoader(for_alphas, stream="alphas", resident=residents.of(for_alphas), **seeded)
        )
        self.val = EvalLoader(for_alphas, resident=residents.of(for_alphas), **self._shared)
        self._dead = DeadPoints(space, lambda: samples_of(for_alphas, task, device))
        self._show = show
        self._drawn: Genotype | None = None
        self._named_dead: Genotype | None = None

    # The present phase's objects; a new phase may bring others.

    @property
    def net(self) -> Supernet:  # type: ignore[override]  # read here, and made by the phases
        return self.phases.net

    @property
    def bilevel(self) -> BilevelStep:
        return self.phases.bilevel

    @property
    def stepper(self) -> CapturedStep:
        return self.phases.stepper

    @property
    def guard(self) -> Guard:  # type: ignore[override]
        return self.phases.guard

    @property
    def epochs(self) -> int:
        """Epochs of the run in all, as planned now: verdicts may change it."""
        return self.phases.course.epochs

    @property
    def finished(self) -> bool:
        """Whether a verdict has ended the search."""
        return self.phases.over

    @property
    def _single_level(self) -> bool:
        """Whether alphas learn from the weights' batch."""
        return self.phases.method.hypergradient.single_level

    def start(self) -> None:
        """Weights and alphas are drawn from the seed on construction; ranks make sure of it."""
        self.ranks.same_state(self.net)

    def step(self, batch: Batch, epoch: int, step: int) -> Mapping[str, Mapping[str, Tensor]]:
        """One step on a batch for the weights, and one for the alphas where they learn; the sums are scalars.

        Nothing happens in a phase in which neither learns.
        """
        if self.phases.rests:
            return {}
        self.ranks.seed_step(self.config.seed, step)
        learns = self.phases.alphas_learn(step)
        val = (batch if self._single_level else self.alphas.at(step)) if learns else None
        sums = self.stepper(batch, val, self.phases.epoch(epoch), step)
        if self.guard.look(step):
            raise self.stopped()
        return sums

    def gradients_again(self, part: str, step: int) -> Callable[[], tuple[Tensor, Mapping[str, Tensor]]]:
        """The loss, a scalar, and the gradients in the shapes of the parameters; by modules that can be watched."""
        train = next(self.train.epoch(*divmod(step, self.steps)))
        self.bilevel.prepare(self.phases.epoch(step // self.steps), step)

        def gradients() -> tuple[Tensor, Mapping[str, Tensor]]:
            with self.net.executing("reference"):
                if part == "alphas":
                    loss, estimates, _ = self.bilevel.alpha_gradients(train, self.alphas.at(step))
                    names = {
                        id(p): name
                        for name, p in (*self.net.named_parameters(), *self.phases.method.named_parameters())
                    }
                    return loss, {names[id(a)]: g for a, g in zip(self.bilevel.alphas, estimates, strict=True)}
                loss, _ = self.bilevel.weight_gradients(train)
                return loss, self.named_gradients()

        return gradients

    def indices(self, part: str, step: int) -> list[int]:
        loader = self.train if part == "weights" or self._single_level else self.alphas.loader
        epoch, number = divmod(step, len(loader))
        return loader.indices(epoch)[number].tolist()

    def end_epoch(self, epoch: int) -> Metrics:
        """Validation on the alphas' part, entropies, shares of skips, the genotype's hash; then what follows of it."""
        self.ranks.same_buffers(self.net)
        self.ranks.same_buffers(self.phases.method)  # auxiliary modules have running statistics too
        metrics: Metrics = {f"val/{name}": value for name, value in self.measure().items()}
        require_finite(metrics, self._samples_without_numbers, epoch, self.config.seed)
        genotype = self.genotype()
        self.ranks.assert_equal("the genotype", genotype.hash)
        metrics = {**metrics, **self._described(genotype), "lr": self.bilevel.lr(self.phases.epoch(epoch))}
        ended = self.phases.end_epoch(lambda history: self._look(epoch, metrics, genotype, history), epoch)
        return {**metrics, **ended}

    @torch.no_grad()
    def _described(self, genotype: Genotype) -> Metrics:
        """How undecided the alphas are, and how much of them and of the genotype is skips."""
        described: dict[str, float | str] = {}
        mixing = self.phases.method.relaxed(self.net)
        # Of the whole space: nested decisions count as often as they are open.
        described["alpha/mean_entropy"], each = mean_entropy(self.space, mixing)
        described["alpha/decided"] = decided(self.space, self.net.strengths(), self.net.masks())
        for table in self.space.tables:
            described[f"alpha/entropy/{table.name}"] = each[table.name]
            if SKIP in table.columns:
                share = mixing[table.name][:, table.columns.index(SKIP)].mean()
                described[f"alpha/skip_share/{table.name}"] = float(share)
        names = [name for row in self._operations(genotype).values() for name in row]
        described["genotype/skip_share"] = names.count(SKIP) / max(len(names), 1)
        described["genotype/hash"] = genotype.hash
        if self.dead(genotype):
            described["genotype/dead"] = 1.0
        return described

    def _operations(self, genotype: Genotype) -> dict[str, list[str]]:
        """The operations that a genotype runs, by table."""
        tables = {table.name: table for table in self.space.tables}
        return {
            name: [tables[name].columns[column] for _, column in places]
            for name, places in self.space.active(genotype).items()
            if name in tables
        }

    def measure(
        self,
        mixture: Mixture | None = None,
        batches: Iterable[Sequence[Tensor]] | None = None,
        batch_statistics: bool = False,
    ) -> dict[str, float]:
        """The task's metrics on the alphas' part or on `batches` ([B, ...], targets), under `mixture` where given."""
        net = self.net if mixture is None else lambda x: self.net(x, mixture=mixture)
        data = self.val if batches is None else batches
        with autocast(self.device, self.config.amp):
            return evaluate(self.net, self.task, data, self.ranks, net, batch_statistics)

    def _look(self, epoch: int, metrics: Metrics, genotype: Genotype, history: Sequence[Ended]) -> Look:
        def loaders(name: BatchName) -> Iterable[Batch]:
            return self.val if name == "val" else EvalLoader(self._views["train"], **self._shared)

        def problem(train: Batch, val: Batch) -> Problem:
            return self.bilevel.problem("alphas", train, val)

        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        return Look(
            net=self.net,
            clock=self.bilevel.clock(self.phases.epoch(epoch), (epoch + 1) * self.steps),
            metrics=numbers,
            genotype=genotype,
            history=[*history, Ended(epoch, genotype, numbers)],
            loaders=loaders,
            measure=self.measure,
            problem=problem,
            selects=f"val/{self.task.selects}",
            maximise=self.task.maximise,
            last=epoch + 1 == self.epochs,
            learns=self.phases.course.phase.learns,
        )

    def better(self, metrics: Metrics, best: Metrics | None) -> bool:
        """By the task's metric on the alphas' part; the earlier of equals."""
        key = f"val/{self.task.selects}"
        return best is None or beats(finite(metrics, key), finite(best, key), self.task.maximise)

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Draw the cells when the genotype has changed, and always at the end."""
        genotype = self.genotype()
        if self._show is not None and (genotype != self._drawn or epoch + 1 == self.epochs):
            self._show(run_log, step, self.net, genotype)
            self._drawn = genotype

    def genotype(self) -> Genotype:
        """What the method's selector makes of the present state, or what a verdict has decided.

        Of a dead one the strongest live neighbour, where the settings ask for it and there is one.
        """
        genotype = self.phases.genotype()
        why = self.dead(genotype)
        if not why:
            return genotype
        alive = None
        if self.config.dead_cells == "neighbour":
            strengths = self.net.options.ranked(self.net.strengths())
            alive = live_neighbour(self.space, genotype, strengths, self.dead)
        if genotype != self._named_dead and self.ranks.main:
            self._named_dead = genotype
            cure = f"{alive.hash} is taken in its place" if alive else self._no_live_one
            log.warning("genotype %s: %s; %s", genotype.hash, why, cure)
        return alive or genotype

    def dead(self, genotype: Genotype) -> str:
        """Why nothing of its input reaches the output of a point's network; "" where it does."""
        return self._dead.why(self.net, genotype)

    @property
    def _no_live_one(self) -> str:
        asked = self.config.dead_cells == "neighbour"
        return "no live one is near it" if asked else "dead_cells=neighbour takes a live one near it"

    def record(self, epoch: int) -> Mapping[str, JSON]:
        """The genotype, the margins, and [E][O] of the present state: the alphas, and what the method makes of them."""
        strengths = self.net.strengths()
        return {
            "genotype": json.loads(self.genotype().to_json()),
            "margins": self.margins(),
            "alphas": {name: alpha.detach().tolist() for name, alpha in self.net.alpha.items()},
            "strengths": {name: [[round(p, 6) for p in row] for row in rows] for name, rows in strengths.items()},
        }

    def margins(self) -> list[JSON]:
        """Of each decision its table and row, its strongest and its next option, and the lead of the first, 0..1."""
        rows = margins(self.space, self.net.strengths(), self.net.masks())
        return [[m.table, m.row, m.first, m.second, m.lead] for m in rows]

    def closest(self, most: int = 3) -> list[str]:
        """The decisions with the smallest margins, as text, the closest first."""
        rows = margins(self.space, self.net.strengths(), self.net.masks())
        return [str(row) for row in sorted(rows, key=lambda row: row.lead)[:most]]

    def _samples_without_numbers(self) -> tuple[list[int], list[int]]:
        """The samples of the alphas' part whose inputs are not finite, and those whose outputs are not, by number."""
        return samples_without_numbers(self.net, self.task, self.val)

    def result(self, metrics: Metrics, versions: Mapping[str, JSON]) -> Genotype:
        """The genotype with where it came from."""
        return self.genotype().with_origin(
            method=self.config.method.name,
            seed=self.config.seed,
            epochs=self.config.epochs,
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            versions=dict(versions),
            metrics={k: v for k, v in metrics.items() if isinstance(v, int | float)},
        )

    def state_dict(self) -> State:
        """The step's tensors, the guard's counts, and where the phases stand."""
        return self.phases.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Takes over what `state_dict` gave; the network is made anew where it stands in another phase."""
        self.phases.load_state_dict(state)

    def close(self) -> None:
        self.train.close()
        self.alphas.close()
        self.val.close()
