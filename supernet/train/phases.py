"""The phases of a search: what each one makes, what verdicts change, and the state of it all.

    enter    the network, its method, step, guard and stepper, made for a phase; or, where the network stays the same,
             only what may run and what learns
    verdict  carried out between two epochs, before the save

`config.epochs` counts the epochs of a search without a schedule. Warm-up is a first phase in which only weights learn.
"""
# E edges, O operations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..config import AlphaConfig, SearchConfig, WeightConfig
from ..counter import derive
from ..data.sources import ImageInfo
from ..errors import SupernetError
from ..methods import Method, Phase
from ..methods.look import Ended, Look
from ..methods.parts import Selector
from ..methods.phase import BOTH
from ..methods.verdict import Done, Enter, FixEdge, Freeze, Mask, Rollback, Stop, Verdict
from ..network import Supernet
from ..network.macro import macro_of
from ..network.mixture import HostMask
from ..runs.state import State
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..tasks.compare import rank
from ..tasks.task import Task
from .bilevel import BilevelStep
from .captured import CapturedStep
from .compatibility import fit_arguments, refuse_idle_cells
from .course import Course
from .inheritance import hand_on, strongest
from .settled import SettledExecutor
from .widening import widen

__all__ = ["Phases", "planned"]

log = logging.getLogger(__name__)


def planned(config: SearchConfig, method: Method) -> list[Phase]:
    """The phases that a configuration asks for; raises SupernetError where the alphas would never learn."""
    if method.schedule is not None:
        phases = list(method.schedule.phases(config))
        _check_rounds(phases, method)
        return phases
    warmup = config.method.warmup_epochs
    if warmup >= config.epochs:
        raise SupernetError(
            f"method.warmup_epochs={warmup} of epochs={config.epochs}: the alphas would never learn; it must be less"
        )
    rest = Phase(config.epochs - warmup)
    return [Phase(warmup, learns=frozenset({"weights"})), rest] if warmup else [rest]


def _check_rounds(phases: Sequence[Phase], method: Method) -> None:
    """Raises SupernetError where a phase is for the rounds of a selector that has none."""
    if any("selection" in phase.learns for phase in phases) and type(method.selector).round is Selector.round:
        raise SupernetError(
            "method.schedule has a phase for the rounds of a selection, and method.selector chooses at once; take a "
            "selector that has rounds, such as removal, best_path or rank_sum"
        )


class Phases:
    """The present phase's network, method, guard and step, and the course that led there."""

    net: Supernet
    method: Method
    guard: Guard
    bilevel: BilevelStep
    stepper: CapturedStep

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        info: ImageInfo,
        task: Task,
        device: torch.device,
        ranks: Ranks,
        course: Course,
    ) -> None:
        self.config, self.space, self.info, self.task, self.device = config, space, info, task, device
        self.ranks, self.course = ranks, course
        self._settled = SettledExecutor(device, torch.bfloat16 if config.amp == "bf16" else torch.float32, ranks)
        self._past: list[State] = []  # {"epoch": of the run, "state": of the step and the guard}
        self._parent: State | None = None  # of the step, when the search branched
        self._make()
        self._restrict(course.phase, {})

    def epoch(self, epoch: int) -> int:
        """Epoch `epoch` of the run, counted since the weights were last drawn anew."""
        return epoch - self.course.shift - self.course.segment[0]

    def alphas_learn(self, step: int) -> bool:
        """Whether the alphas take part in a step."""
        if not self.method.hypergradient.learns:
            return False
        return "alphas" in self.course.phase.learns and step % self.config.method.alpha_every == 0

    @property
    def rests(self) -> bool:
        """Whether neither weights nor alphas learn in the present phase: its epochs are for decisions alone."""
        return self.course.phase.learns.isdisjoint(BOTH)

    @property
    def over(self) -> bool:
        """Whether the search has ended: by a verdict, or with its last phase."""
        return self.course.over

    def genotype(self) -> Genotype:
        """That of a stop, else the best of a branch's children, else the present one."""
        course = self.course
        if course.stopped is not None:
            return course.stopped
        if course.candidates and course.over:
            return max(course.candidates, key=lambda candidate: rank(candidate[1], self.task.maximise))[0]
        return self.method.present(self.net)

    def end_epoch(self, look: Callable[[Sequence[Ended]], Look], epoch: int) -> dict[str, float]:
        """Shows the ended epoch to the method, carries out its verdicts, and enters the next phase where one is over.

        Returns the parts' numbers, and the number of the phase where there are several.
        """
        course, phase = self.course, self.course.phase
        seen = look(course.history)
        numbers = self.method.end_epoch(seen)
        if len(course.phases) > 1:
            numbers["method/phase"] = float(course.number)
        *before, ended = seen.history
        seen = replace(seen, history=[*before, replace(ended, metrics={**ended.metrics, **numbers})])
        verdicts = [verdict for watcher in self.method.watchers for verdict in watcher.verdict(seen)]
        if "selection" in phase.learns:
            verdicts += self.method.selector.round(seen)
        if self.method.watchers or len(course.phases) > 1:
            course.history = list(seen.history)
        self._keep(epoch)
        ends = [self._carry_out(verdict, epoch) for verdict in verdicts]
        plan = epoch + 1 - course.shift  # after the verdicts: a rollback shifts it
        if course.stopped is None and (any(ends) or plan >= course.end):
            self._advance(plan, seen)
        return numbers

    def _keep(self, epoch: int) -> None:
        """Keeps the state of the ended epoch, where a part may go back to it."""
        if most := self.method.past:
            state = {"bilevel": self.bilevel.state_dict(), "guard": self.guard.state_dict()}
            self._past = [*self._past, {"epoch": epoch, "state": copy.deepcopy(state)}][-most:]

    def _carry_out(self, verdict: Verdict, epoch: int) -> bool:
        """Does what a verdict says; True where the phase is over by it."""
        course = self.course
        if isinstance(verdict, Mask):
            self._mask(verdict.masks)
        elif isinstance(verdict, FixEdge):
            rows = [list(row) for row in self.net.masks()[verdict.table]]
            rows[verdict.row] = [column == verdict.column for column in range(len(rows[verdict.row]))]
            self._mask({verdict.table: tuple(tuple(row) for row in rows)})
        elif isinstance(verdict, Freeze):
            course.operations += [place for place in verdict.operations if place not in course.operations]
            course.tables += [table for table in verdict.tables if table not in course.tables]
            self._freeze()
        elif isinstance(verdict, Stop):
            course.stopped = verdict.genotype
            log.info("the search ends after epoch %d by verdict", epoch + 1)
        elif isinstance(verdict, Rollback):
            self._roll_back(verdict, epoch)
        elif isinstance(verdict, Enter):
            course.phases[course.number + 1 :] = verdict.phases
            refuse_idle_cells(self.space, self.config.network, course, since=course.number + 1)
            if any(phase.starts_from == "parent" for phase in verdict.phases):
                self._parent = {
                    "step": copy.deepcopy(self.bilevel.state_dict()),
                    "masks": self._masks(),
                }
            return True
        return isinstance(verdict, Done)

    def _mask(self, masks: Mapping[str, HostMask]) -> None:
        """Prunes by `masks` [E][O] a table; what was pruned before stays so."""
        self.net.prune(masks)
        self.stepper.reset()

    def _masks(self) -> dict[str, HostMask]:
        """What may run of each table with alphas, [E][O]."""
        masks = self.net.masks()
        return {table.name: masks[table.name] for table in self.space.tables}

    def _freeze(self) -> None:
        for site, row, column in self.course.operations:
            for parameter in self.net.parameters_of(site, row, column):
                parameter.requires_grad_(False)
        for table in self.course.tables:
            self.net.alpha[table].requires_grad_(False)
        self.bilevel.learning()
        self.stepper.reset()

    def _roll_back(self, verdict: Rollback, epoch: int) -> None:
        """Puts the state of an ended epoch back; the epochs since then are to be done again."""
        states = {entry["epoch"]: entry["state"] for entry in self._past}
        if verdict.epoch not in states:
            raise ValueError(
                f"a rollback to epoch {verdict.epoch}; those that can be gone back to are {sorted(states)}"
            )
        for key in verdict.settings:
            self._settings({key: verdict.settings[key]})  # raises for a setting that there is not
        self.course.settings |= verdict.settings
        self.course.shift += epoch - verdict.epoch
        self.course.history = [ended for ended in self.course.history if ended.epoch <= verdict.epoch]
        self._past = [entry for entry in self._past if entry["epoch"] <= verdict.epoch]
        self._make()
        self._load(states[verdict.epoch])
        log.info(
            "back to the state after epoch %d, with %s", verdict.epoch + 1, verdict.settings or "the same settings"
        )

    def _advance(self, plan: int, seen: Look) -> None:
        """Ends the present phase at epoch `plan` of the plan, and enters the next one."""
        course, phase = self.course, self.course.phase
        if phase.starts_from == "parent":
            course.candidates.append((self.method.present(self.net), float(seen.metrics[seen.selects])))
        course.ended.append(plan - course.begun)
        if course.last:
            return
        course.number += 1
        course.history, self._past = [], []
        before, strengths = self.bilevel, self.net.strengths()
        masks = self._masks()
        phase = course.phase
        if phase.remakes:
            course.operations, course.tables = [], []  # sites and rows may be others now
            self._make()
            if phase.starts_from == "inherit":
                hand_on(before.state_dict(), self.bilevel)
                self._mask(masks)
            elif phase.starts_from == "widen":
                widen(before.state_dict(), self.bilevel, derive(self.config.seed, "widen", course.number))
                self._mask(masks)
            elif phase.starts_from == "parent" and self._parent is not None:
                hand_on(self._parent["step"], self.bilevel)
                self._mask(self._parent["masks"])
        self.bilevel.epochs, self.bilevel.phase, self.bilevel.stage = course.segment[1], course.number, course.stage
        self._restrict(phase, strongest(strengths, masks, phase.keep) if phase.keep is not None else {})
        self.stepper.reset()
        log.info("phase %d of %d: %d epochs", course.number + 1, len(course.phases), phase.epochs)

    def _restrict(self, phase: Phase, masks: Mapping[str, HostMask]) -> None:
        """What may run in a phase: `masks` [E][O] a table, and those that the phase itself names."""
        for some in (masks, phase.masks):
            if some:
                self._mask(some)

    def _make(self) -> None:
        """The network of the present phase with its method, guard and step, drawn anew."""
        config, course = self.config, self.course
        arguments = fit_arguments(
            macro_of(self.space).relaxed, {**config.network, **course.network}, self.info, self.task
        )
        seed = config.seed if course.number == 0 else derive(config.seed, "phase", course.number)
        self.net = Supernet(self.space, executor=config.executor, seed=seed, **arguments).to(self.device)
        self.method = Method(config.method)
        self.guard = Guard(config.guard, self.net, self.device)
        weights, alphas = self._settings({**course.phase.settings, **course.settings})
        self.bilevel = BilevelStep(
            self.net,
            self.task,
            method=self.method,
            weights=weights,
            alphas=alphas,
            epochs=course.segment[1],
            amp=config.amp,
            guard=self.guard,
            ranks=self.ranks,
            seed=config.seed,
            phase=course.number,
            stage=course.stage,
        )
        self._settled.settle(self.net)
        self.stepper = CapturedStep(self.bilevel, capture=config.capture)

    def _settings(self, changes: Mapping[str, float]) -> tuple[WeightConfig, AlphaConfig]:
        """The optimisers' settings with `changes` such as {"weights.weight_decay": 9e-4}."""
        groups: dict[str, Any] = {"weights": self.config.weights, "alphas": self.config.alphas}
        for key, value in changes.items():
            group, _, name = key.partition(".")
            if group not in groups or not hasattr(groups[group], name):
                raise ValueError(f"{key!r} is no setting that may change in a search: those are weights.* and alphas.*")
            groups[group] = replace(groups[group], **{name: value})
        return groups["weights"], groups["alphas"]

    def state_dict(self) -> State:
        """The step's tensors, the guard's counts, the course, and the states that may be gone back to."""
        state: dict[str, Any] = {"bilevel": self.bilevel.state_dict(), "guard": self.guard.state_dict()}
        state["course"] = self.course.plain()
        if self._settled.name is not None:
            state["executor"] = self._settled.name
        if self._past:
            state["past"] = list(self._past)
        if self._parent is not None:
            state["parent"] = self._parent
        return state

    def load_state_dict(self, state: State) -> None:
        """Takes over what `state_dict` gave; also that of before there were phases, which has no course."""
        self._settled.keep(self.net, state)
        if "course" in state:
            before = self.course
            self.course = Course.of(state["course"])
            self.course.replan(before.plan)
            self._past, self._parent = list(state.get("past", ())), state.get("parent")
            if self.course.number != before.number or self.course.settings != before.settings:
                self._make()
        self._load(state)

    def _load(self, state: State) -> None:
        self.bilevel.load_state_dict(state["bilevel"])
        self.guard.load_state_dict(state["guard"])
        self.bilevel.epochs = self.course.segment[1]
        self._freeze()
        self.stepper.reset()  # what was loaded may lie in other places
