"""The stages as functions: open the data, build what is trained, run the loop, write the result.

Each takes a configuration and may be handed a space, data and a task that the configuration cannot name. With
`in_folder` it lives in a run folder, is found again and resumed there; a finished one only gives its result.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..methods import DISCRETISERS, HYPERGRADIENTS, RELAXATIONS
from ..network import Supernet, make_executor
from ..space import Genotype, Space, get_space, space_of
from ..space.reference import find_genotype
from .config import RetrainConfig, SearchConfig
from .data.loader import EvalLoader
from .data.sources import ImageInfo
from .data.splits import Splits, open_data
from .data.timm_eval import has_pictures, timm_test_loader
from .device import autocast, pick, seed_everything, versions
from .evaluate import evaluate
from .loop import Loop
from .retrain import RetrainProgram
from .run import RunFolder
from .search import SearchProgram
from .task import ImageClassification, Task

__all__ = ["Retrained", "Searched", "run_retrain", "run_search"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Searched:
    """What a search gives. `metrics` are those of its last epoch; `done` is False where it was told to stop early."""

    genotype: Genotype
    net: Supernet
    metrics: Mapping[str, Any]
    seconds: float
    done: bool
    folder: Path | None


@dataclass(frozen=True)
class Retrained:
    """What retraining gives: the selected network with its metrics, and what exporting it needs."""

    model: nn.Module
    genotype: Genotype
    arguments: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seconds: float
    done: bool
    folder: Path | None


def run_search(
    config: SearchConfig,
    *,
    space: Space | None = None,
    splits: Splits | None = None,
    task: Task | None = None,
    in_folder: bool = True,
    until: int | None = None,
) -> Searched:
    """Search to the end, or to step `until`; resumes where the run folder has a checkpoint."""
    device = pick(config.device)
    own = space is not None
    space = space or get_space(config.space.name, **config.space.args)
    _check_parts(config)
    splits = splits or open_data(config.data, config.seed)
    chosen = task or _classification(splits)
    run = RunFolder.open(config, "search", space.name if own else None) if in_folder else None
    seed_everything(config.seed)
    program = SearchProgram(config, space, splits, chosen, device)
    outcome = _loop(program, config, run).run(until)
    genotype = program.result(outcome.last, _brief(versions()))
    if run is not None and outcome.done and not run.finished:
        genotype.save(run.genotype_path)
        run.finish(
            {"genotype": genotype.hash, "metrics": outcome.last, "best": outcome.best, "seconds": outcome.seconds}
        )
    elif run is not None and run.finished:
        genotype = Genotype.load(run.genotype_path)
    return Searched(
        genotype, program.net, outcome.last, outcome.seconds, outcome.done, run.path if run is not None else None
    )


def run_retrain(
    config: RetrainConfig,
    *,
    genotype: Genotype | None = None,
    space: Space | None = None,
    splits: Splits | None = None,
    task: Task | None = None,
    in_folder: bool = True,
    until: int | None = None,
) -> Retrained:
    """Train a genotype to the end, or to step `until`; then open the test split once, for the selected one."""
    device = pick(config.device)
    genotype, label = find_genotype(genotype or config.genotype)
    space = space or space_of(genotype)
    splits = splits or open_data(config.data, config.seed)
    chosen = task or _classification(splits, config.recipe.smoothing)
    run = RunFolder.open(config, "retrain", label) if in_folder else None
    seed_everything(config.seed)
    program = RetrainProgram(config, space, genotype, splits, chosen, device)
    loop = _loop(program, config, run)
    outcome = loop.run(until)
    if outcome.done:
        loop.load_best()
    metrics = dict(outcome.best if outcome.done else outcome.last)
    data = _describe(splits.info)
    if run is not None and run.finished:
        metrics = run.result["metrics"]
    elif outcome.done:
        metrics |= _test(program, splits, chosen, config)
        if run is not None:
            genotype.save(run.genotype_path)
            counts = {"parameters": _parameters(program.model), "arguments": program.arguments, "data": data}
            run.finish({"genotype": genotype.hash, "metrics": metrics, "seconds": outcome.seconds, **counts})
    return Retrained(
        program.model,
        genotype,
        program.arguments,
        data,
        metrics,
        outcome.seconds,
        outcome.done,
        run.path if run is not None else None,
    )


def _check_parts(config: SearchConfig) -> None:
    """Unknown names are refused before a run folder is made."""
    method = config.method
    _ = RELAXATIONS[method.relaxation], HYPERGRADIENTS[method.hypergradient]
    _ = DISCRETISERS[method.discretiser] if method.discretiser else None
    make_executor(config.executor)


def _classification(splits: Splits, smoothing: float = 0.0) -> Task:
    return ImageClassification(splits.info.num_classes, smoothing=smoothing)


def _loop(program: SearchProgram | RetrainProgram, config: SearchConfig | RetrainConfig, run: RunFolder | None) -> Loop:
    if run is not None:
        log.info("run folder: %s", run.path)
    return Loop(program, config.epochs, run=run, checkpoint=config.checkpoint, log_config=config.log)


def _test(program: RetrainProgram, splits: Splits, task: Task, config: RetrainConfig) -> dict[str, float]:
    """Metrics of the test split; pictures come through timm's own loader, so that they are what timm would measure."""
    if not splits.has_test:
        return {}
    with splits.final_evaluation(), autocast(program.device, config.amp):
        view = splits.test()
        loader: Iterable[Any]
        if has_pictures(view):
            loader = timm_test_loader(view, splits.info, batch_size=config.batch_size, workers=config.data.workers)
        else:  # float tensors, or targets that are no classes: timm's loader has no way to read them
            loader = EvalLoader(view, batch_size=config.batch_size)
        batches = ([part.to(program.device) for part in batch] for batch in loader)
        return {f"test/{name}": value for name, value in evaluate(program.model, task, batches).items()}


def _describe(info: ImageInfo) -> dict[str, Any]:
    """What whoever uses the network must know of the data, in timm's terms."""
    return {
        "name": info.name,
        "mean": list(info.mean),
        "std": list(info.std),
        "input_size": [info.in_chans, info.image_size, info.image_size],
        "class_names": list(info.class_names),
        "interpolation": "bilinear",  # as the loaders resize
        "crop_pct": 1.0,
    }


def _parameters(net: nn.Module) -> int:
    """Parameters of the network without the auxiliary head, which serves training only."""
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith("auxiliary."))


def _brief(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("supernet", "torch", "python") if key in found}
