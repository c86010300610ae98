"""One row of a comparison: its searches, the scores of what they found, the controls at equal parameters."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import SupernetError, short
from ...evaluate.controls import Controls, Draws
from ...evaluate.signatures import signatures
from ...evaluate.table import Table
from ...runs.folder import RunFolder
from ...space import Genotype, Space
from ...space.lookup import find_genotype
from ..search import STAGE as SEARCH
from ..space_config import configured
from .config import CompareConfig
from .jobs import Job, Outcome, run_jobs
from .plan import Row
from .scores import Asked, ByRetraining, FromTable, Score, Scorer
from .summary import Found, RowResult, entries

__all__ = ["PUBLISHED", "check", "compared"]

log = logging.getLogger(__name__)

PUBLISHED = {"darts": "DARTS_V2", "nasnet": "quark0/darts:NASNet"}  # space -> the cell that its own paper printed

Failures = list[tuple[str, bool]]  # (what failed and why, whether it is a mistake in the settings)
Searched = dict[tuple[str, int], RunFolder]  # (method, seed) -> its ended search


def compared(config: CompareConfig, row: Row, folder: Path) -> tuple[RowResult, Failures]:
    """The result of a row, of all runs that have ended, and those that failed."""
    space = configured(row.base.space)
    name = f"{row.name} " if row.name else ""
    scorer: Scorer
    if config.table:
        scorer = FromTable(Table.read(config.table, space), config.score, row.retraining.network)
    else:
        scorer = ByRetraining(row, space, config.score, config.jobs, folder)
    searched, failures = _searches(config, row, folder, name)
    asked = {
        (method, seed): Asked(
            f"{name}retraining of {method} seed {seed}", Genotype.load(run.genotype_path), seed, run.path
        )
        for (method, seed), run in searched.items()
    }
    scores = _scored(scorer, asked, failures)
    notes = [*row.notes, *_epochs(row, searched)]
    controls = _controls(config, scorer, space, {key: asked[key] for key in scores}, notes)
    randoms = _scored_randoms(scorer, controls, failures, name)
    published = _published(config, scorer, space, failures, notes, name) if scores else {}
    methods: dict[str, dict[int, Found]] = {method: {} for method in row.methods}
    for (method, seed), score in scores.items():
        places = [(seed, point.hash) for point in controls[method, seed].points]
        cells = tuple(randoms[place] for place in places if place in randoms)
        methods[method][seed] = Found(score, float(searched[method, seed].trained()["seconds"]), cells)
    result = RowResult(
        name=row.name,
        space=space.name,
        metric=scorer.metric,
        maximise=scorer.maximise,
        random=config.random,
        entries=entries(methods, published, maximise=scorer.maximise),
        about=_about(config, row),
        notes=tuple(notes),
        runs=tuple(_records(searched, asked, scores, controls, randoms, published)),
    )
    return result, failures


def _searches(config: CompareConfig, row: Row, folder: Path, name: str) -> tuple[Searched, Failures]:
    places = [(method, seed) for seed in config.seed_list for method in row.methods]
    jobs: list[Job] = []
    for method, seed in places:
        settings, words = row.methods[method].at(seed)
        jobs.append(Job(f"{name}search by {method} seed {seed}", SEARCH, settings, tuple(words)))
    outcomes = run_jobs(jobs, config.jobs, folder / "logs")
    failures = [(outcome.failure, outcome.mistake) for outcome in outcomes if outcome.run is None]
    ended = {place: one.run for place, one in zip(places, outcomes, strict=True) if one.run is not None}
    return ended, failures


def check(row: Row) -> None:
    """Raises SupernetError, with the method, for parts that do not fit the space or the budget, before any search."""
    from ..run_search import check_parts

    for method, planned in row.methods.items():
        try:
            check_parts(planned.config, configured(planned.config.space))
        except SupernetError as error:
            raise SupernetError(f"{method}: {error}") from None


def _epochs(row: Row, searched: Searched) -> list[str]:
    """Which methods searched more or fewer epochs than the row has: those with phases of their own, or early stops."""
    notes: list[str] = []
    for method in row.methods:
        runs = [run for (name, _), run in searched.items() if name == method]
        ended = sorted({max((epoch for epoch, _ in signatures(run.path)), default=0) for run in runs})
        if ended and ended != [row.base.epochs]:
            span = " to ".join(map(str, dict.fromkeys((ended[0], ended[-1]))))
            notes.append(f"{method} searched {span} epochs, where the budget is {row.base.epochs}")
    return notes


def _scored(scorer: Scorer, asked: Mapping[tuple[str, int], Asked], failures: Failures) -> dict[tuple[str, int], Score]:
    """The scores that there are; `failures` gets the reasons of the others."""
    scores: dict[tuple[str, int], Score] = {}
    for key, one in zip(asked, scorer.scores(list(asked.values())), strict=True):
        if isinstance(one, Outcome):
            failures.append((one.failure, one.mistake))
        else:
            scores[key] = one
    return scores


def _controls(
    config: CompareConfig, scorer: Scorer, space: Space, asked: Mapping[tuple[str, int], Asked], notes: list[str]
) -> dict[tuple[str, int], Controls]:
    """The random cells of each search; `notes` says where there were too few of equal parameters."""
    draws = {
        seed: Draws(space, seed, scorer.parameters, most=config.draws, admits=scorer.knows) for seed in config.seed_list
    }
    controls: dict[tuple[str, int], Controls] = {}
    for (method, seed), one in asked.items():
        size = scorer.parameters(one.genotype)
        controls[method, seed] = found = draws[seed].matching(size, config.random, config.tolerance)
        if found.shortfall:
            notes.append(f"{method}, seed {seed}: {found.shortfall}")
    return controls


def _scored_randoms(
    scorer: Scorer, controls: Mapping[tuple[str, int], Controls], failures: Failures, name: str
) -> dict[tuple[int, str], Score]:
    """(seed, hash) -> score, of every random cell once a seed."""
    points = {(seed, point.hash): point for (_, seed), found in controls.items() for point in found.points}
    asked = {
        (point.hash, seed): Asked(f"{name}retraining of random {point.hash} seed {seed}", point, seed)
        for (seed, _), point in points.items()
    }
    return {(seed, cell): score for (cell, seed), score in _scored(scorer, asked, failures).items()}


def _published(
    config: CompareConfig, scorer: Scorer, space: Space, failures: Failures, notes: list[str], name: str
) -> dict[str, dict[int, Score]]:
    """The published cell at each seed; where the space has none, or not that one, `notes` says so."""
    reference = PUBLISHED.get(space.name, "") if config.published == "auto" else config.published
    if reference in ("", "off"):
        return {}
    genotype, label = find_genotype(reference)
    try:
        if genotype.space == space.name:  # perhaps of other arguments, such as candidate operations
            genotype = space.genotype(genotype.decisions)
        space.validate(genotype)
    except SupernetError as error:
        if config.published != "auto":
            raise
        notes.append(f"the published cell {label} is left out, it is no point of this space: {short(str(error))}")
        return {}
    asked = {
        (label, seed): Asked(f"{name}retraining of {label} seed {seed}", genotype, seed) for seed in config.seed_list
    }
    return {label: {seed: score for (_, seed), score in _scored(scorer, asked, failures).items()}}


def _records(
    searched: Searched,
    asked: Mapping[tuple[str, int], Asked],
    scores: Mapping[tuple[str, int], Score],
    controls: Mapping[tuple[str, int], Controls],
    randoms: Mapping[tuple[int, str], Score],
    published: Mapping[str, Mapping[int, Score]],
) -> list[dict[str, object]]:
    """One record a score, as runs.csv has them; first those of the methods, by name and seed."""
    records: list[dict[str, object]] = []

    def record(name: str, kind: str, seed: int, genotype: str, score: Score, search: RunFolder | None = None) -> None:
        seconds = float(search.trained()["seconds"]) if search is not None else None
        records.append(
            {
                "name": name, "kind": kind, "seed": seed, "genotype": genotype, "score": score.value,
                "parameters": score.parameters, "search_seconds": seconds, "retrain_seconds": score.seconds,
                "search": search.path if search is not None else None, "retraining": score.folder,
            }
        )  # fmt: skip

    for (method, seed), score in scores.items():
        record(method, "method", seed, asked[method, seed].genotype.hash, score, searched[method, seed])
    for (seed, cell), score in randoms.items():
        served = [method for (method, at), found in controls.items() if at == seed and _has(found, cell)]
        record(f"random for {' '.join(served)}", "random", seed, cell, score)
    for name, by_seed in published.items():
        for seed, score in by_seed.items():
            record(name, "published", seed, name, score)
    return records


def _has(controls: Controls, cell: str) -> bool:
    return any(point.hash == cell for point in controls.points)


def _about(config: CompareConfig, row: Row) -> dict[str, object]:
    """The budget in plain values, by words that read as a sentence."""
    seeds: Sequence[int] = config.seed_list
    about: dict[str, object] = {
        "data": row.base.data.name, "search epochs": row.base.epochs, "seeds": " ".join(map(str, seeds)),
    }  # fmt: skip
    if config.table:
        about["scores from the table"] = Path(config.table).name
    else:
        about["retraining epochs"] = row.retraining.epochs
    if config.random:
        about["random cells a seed and size"] = config.random
        about["their parameters within"] = f"{100 * config.tolerance:g} % of the method's"
    return about
