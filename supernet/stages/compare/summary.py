"""The lines of a comparison's table: means, spreads, and paired differences with their interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median, stdev

from ...evaluate.paired import Difference, paired
from .scores import Score

__all__ = ["Entry", "Found", "RowResult", "entries"]


@dataclass(frozen=True)
class Found:
    """What a method found at one seed: its score, the search's seconds, and the random cells of equal parameters."""

    score: Score
    seconds: float
    controls: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line: a score a seed, in the order of the seeds, and what it cost in seconds over all of them."""

    name: str
    kind: str  # method or published
    maximise: bool
    scores: Mapping[int, float]
    parameters: float  # the mean
    search_seconds: float
    retrain_seconds: float
    random: Mapping[int, Sequence[float]] = field(default_factory=dict)  # scores of random cells of equal parameters
    random_parameters: float | None = None  # the mean of theirs
    to_random: Difference | None = None  # to the median of the random cells, seed by seed
    to_first: Difference | None = None  # to the first method

    @property
    def mean(self) -> float:
        return fmean(self.scores.values())

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds (n - 1); None of one."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def best(self) -> float:
        """The best of so many seeds, which is no mean: it grows with their number."""
        return self._best(list(self.scores.values()))

    @property
    def random_median(self) -> float | None:
        """The mean over the seeds of the median random cell; None where there are none."""
        return fmean(median(cells) for cells in self.random.values()) if self.random else None

    @property
    def random_best(self) -> float | None:
        """The mean over the seeds of the best random cell: what as many retrainings find without a search."""
        return fmean(self._best(cells) for cells in self.random.values()) if self.random else None

    def _best(self, scores: Sequence[float]) -> float:
        return max(scores) if self.maximise else min(scores)


@dataclass(frozen=True)
class RowResult:
    """The outcome of one row of a comparison."""

    name: str
    space: str
    metric: str
    maximise: bool
    random: int  # random cells a seed
    entries: tuple[Entry, ...]
    about: Mapping[str, object]  # the budget, in plain values
    notes: tuple[str, ...] = ()
    runs: tuple[Mapping[str, object], ...] = field(default=(), repr=False)  # one record a score


def entries(
    methods: Mapping[str, Mapping[int, Found]], published: Mapping[str, Mapping[int, Score]], *, maximise: bool
) -> tuple[Entry, ...]:
    """The lines of one row: methods and published cells, each by name and seed. Pairs are seeds that both have."""
    lines = [_of_method(name, found, maximise) for name, found in methods.items() if found]
    lines += [_of_scores(name, "published", scores, maximise) for name, scores in published.items() if scores]
    if not lines or not next(iter(methods.values())):
        return tuple(lines)
    first, others = lines[0], lines[1:]
    return first, *(replace(line, to_first=_between(line.scores, first.scores, maximise)) for line in others)


def _of_method(name: str, found: Mapping[int, Found], maximise: bool) -> Entry:
    random = {seed: [cell.value for cell in one.controls] for seed, one in found.items() if one.controls}
    line = _of_scores(name, "method", {seed: one.score for seed, one in found.items()}, maximise)
    sizes = [cell.parameters for one in found.values() for cell in one.controls]
    medians = {seed: median(cells) for seed, cells in random.items()}
    return replace(
        line,
        search_seconds=sum(one.seconds for one in found.values()),
        random=random,
        random_parameters=fmean(sizes) if sizes else None,
        to_random=_between(line.scores, medians, maximise),
    )


def _of_scores(name: str, kind: str, scores: Mapping[int, Score], maximise: bool) -> Entry:
    values = {seed: score.value for seed, score in scores.items()}
    parameters = fmean(score.parameters for score in scores.values())
    return Entry(name, kind, maximise, values, parameters, 0.0, sum(score.seconds for score in scores.values()))


def _between(one: Mapping[int, float], other: Mapping[int, float], maximise: bool) -> Difference | None:
    both: Sequence[int] = [seed for seed in one if seed in other]
    if not both:
        return None
    return paired([one[seed] for seed in both], [other[seed] for seed in both], maximise=maximise)
