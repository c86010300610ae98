"""Where a search of several phases stands, as plain values that a checkpoint holds.

Epochs of the run count on, whatever happens; `shift` is how many of them a rollback has undone, and epochs of the plan
are those of the run less the shift.
"""

from dataclasses import dataclass, field

from ..methods.look import Ended
from ..methods.phase import Phase, phase_from
from ..runs.state import State
from ..space import Genotype

__all__ = ["Course"]


@dataclass
class Course:
    """The planned phases, the present one, and what verdicts have changed.

    `ended` has the phases that are over with the number of epochs that they really took. `settings` are those that
    rollbacks changed, `operations` and `tables` what was frozen, `stopped` the genotype of a stop, `candidates` the
    (genotype, metric) of each child of a branch. `plan` has the phases as they were planned at first.
    """

    phases: list[Phase]
    number: int = 0
    ended: list[int] = field(default_factory=list)
    shift: int = 0
    settings: dict[str, float] = field(default_factory=dict)
    operations: list[tuple[int, int, int]] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    stopped: Genotype | None = None
    candidates: list[tuple[Genotype, float]] = field(default_factory=list)
    history: list[Ended] = field(default_factory=list)
    plan: list[Phase] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = self.plan or list(self.phases)

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self.phases[self.number]

    @property
    def last(self) -> bool:
        """Whether the present phase is the last one."""
        return self.number + 1 == len(self.phases)

    @property
    def network(self) -> dict[str, object]:
        """The arguments of the present phase's network that differ from the configuration's."""
        return self.network_of(self.number)

    def network_of(self, number: int) -> dict[str, object]:
        """The arguments of a phase's network that differ from the configuration's: its own over those that it goes on
        from. Children of a branch do not go on from each other."""
        arguments: dict[str, object] = {}
        for earlier, phase in enumerate(self.phases[: number + 1]):
            if phase.starts_from == "fresh":
                arguments = {}
            if phase.starts_from != "parent" or earlier == number:
                arguments |= phase.network
        return arguments

    @property
    def begun(self) -> int:
        """The epoch of the plan in which the present phase began."""
        return sum(self.ended[: self.number])

    @property
    def end(self) -> int:
        """The epoch of the plan in which the present phase ends, the first that is no longer its own."""
        return self.begun + self.phase.epochs

    @property
    def epochs(self) -> int:
        """All epochs of the run, those that were undone among them."""
        return self.shift + sum(self._lengths)

    @property
    def segment(self) -> tuple[int, int]:
        """(first epoch of the plan, number of epochs) of the phases over which the weights have one schedule.

        It begins where the network's weights were last drawn anew, a child started from its parent's, or a phase has
        settings of its own.
        """
        lengths = self._lengths
        first = self.number
        while first and not self.phases[first].anneals_anew:
            first -= 1
        after = self.number + 1
        while after < len(self.phases) and not self.phases[after].anneals_anew:
            after += 1
        return sum(lengths[:first]), sum(lengths[first:after])

    @property
    def stage(self) -> int:
        """How many times the weights have been drawn anew."""
        return sum(phase.starts_from == "fresh" for phase in self.phases[1 : self.number + 1])

    @property
    def over(self) -> bool:
        """Whether a verdict has stopped the search, or its last phase has ended."""
        return self.stopped is not None or len(self.ended) == len(self.phases)

    @property
    def _lengths(self) -> list[int]:
        """The epochs of each phase: those that it took, or those that are planned."""
        return [*self.ended, *(phase.epochs for phase in self.phases[len(self.ended) :])]

    def replan(self, plan: list[Phase]) -> None:
        """Takes another plan, such as one of more epochs, where no verdict has changed the one there was."""
        if plan == self.plan or self.phases != self.plan or self.number >= len(plan):
            return
        self.phases, self.plan = list(plan), list(plan)
        if self.stopped is None and len(self.ended) > self.number and self.ended[-1] < self.phase.epochs:
            self.ended.pop()  # what was the end is one no more

    def plain(self) -> State:
        """As plain values; `course_from` reads them."""
        return {
            "phases": [phase.plain() for phase in self.phases],
            "plan": [phase.plain() for phase in self.plan],
            "number": self.number,
            "ended": list(self.ended),
            "shift": self.shift,
            "settings": dict(self.settings),
            "operations": [list(place) for place in self.operations],
            "tables": list(self.tables),
            "stopped": None if self.stopped is None else self.stopped.to_json(),
            "candidates": [[genotype.to_json(), metric] for genotype, metric in self.candidates],
            "history": [[e.epoch, e.genotype.to_json(), dict(e.metrics)] for e in self.history],
        }

    @classmethod
    def of(cls, values: State) -> "Course":
        """The course of what `plain` gave."""
        read = Genotype.from_json
        return cls(
            phases=[phase_from(phase) for phase in values["phases"]],
            plan=[phase_from(phase) for phase in values["plan"]],
            number=values["number"],
            ended=list(values["ended"]),
            shift=values["shift"],
            settings=dict(values["settings"]),
            operations=[(site, row, column) for site, row, column in values["operations"]],
            tables=list(values["tables"]),
            stopped=None if values["stopped"] is None else read(values["stopped"]),
            candidates=[(read(genotype), metric) for genotype, metric in values["candidates"]],
            history=[Ended(epoch, read(genotype), metrics) for epoch, genotype, metrics in values["history"]],
        )
