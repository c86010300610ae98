"""The stages as functions: open the data, build what is trained, run the loop, write the result.

Each takes a configuration and may be handed a space, data and a task that the configuration cannot name. With
`in_folder` it lives in a run folder, is found again and resumed there; a finished one only gives its result.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import RetrainConfig, SearchConfig
from ..data.loader import EvalLoader
from ..data.sources import ImageInfo
from ..data.splits import Splits, open_data
from ..data.timm_eval import has_pictures, timm_test_loader
from ..errors import SupernetError
from ..methods import DISCRETISERS, HYPERGRADIENTS, RELAXATIONS
from ..network import Supernet, make_executor
from ..network.executor.fused import Fused
from ..runs.folder import RunFolder, as_begun
from ..runs.names import data_label
from ..runtime.device import autocast, pick, seed_everything, versions
from ..runtime.out_of_memory import as_configured
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..space.lookup import find_genotype, find_space
from ..tasks.task import TASKS, Task
from .loop import Loop
from .measure import evaluate
from .retrain import RetrainProgram
from .search import SearchProgram
from .space_config import configured, keep, label_of, label_of_own

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
    space: Space | None = None


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
    """Search to the end, or to step `until`; resumes where the run folder has a checkpoint."""
    ranks = Ranks.join()
    device = ranks.device(pick(config.device))
    label = label_of_own(space) if space is not None else label_of(config.space)
    config = as_begun(config, "search", label) if in_folder else config
    space = space or configured(config.space)
    _check_parts(config, space)
    splits = _looked_over(config, splits, ranks)
    chosen = task or _task(splits)
    with _folder(config, "search", label, in_folder, ranks) as run:
        finished = run is not None and run.finished
        if run is not None and ranks.main:
            keep(space, run.path)
        seed_everything(config.seed)
        program = SearchProgram(config, space, splits, chosen, device, ranks)
        outcome = _loop(program, config, run, ranks).run(until)
        genotype = program.result(outcome.last, _brief(versions()))
        if run is not None and finished:
            genotype = Genotype.load(run.genotype_path)
        elif run is not None and outcome.done and ranks.main:
            genotype.save(run.genotype_path)
            run.finish(
                {
                    "genotype": genotype.hash,
                    "metrics": outcome.last,
                    "best": outcome.best,
                    "selects": chosen.selects,
                    "seconds": outcome.seconds,
                }
            )
        ranks.barrier()  # what the main rank has written is there for all of them
        return Searched(
            genotype, program.net, outcome.last, outcome.seconds, outcome.done, run.path if run is not None else None
        )


@as_configured
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
    ranks = Ranks.join()
    device = ranks.device(pick(config.device))
    reference = genotype or config.genotype
    genotype, label = find_genotype(reference)
    config = as_begun(config, "retrain", label) if in_folder else config
    space = space or find_space(reference, genotype, config.allow)
    if ranks.main:
        _warn_of_other_data(config)
    splits = _looked_over(config, splits, ranks)
    chosen = task or _task(splits, config.recipe.smoothing)
    with _folder(config, "retrain", label, in_folder, ranks) as run:
        finished = run is not None and run.finished
        seed_everything(config.seed)
        program = RetrainProgram(config, space, genotype, splits, chosen, device, ranks)
        loop = _loop(program, config, run, ranks)
        outcome = loop.run(until)
        if outcome.done:
            loop.load_best()
        metrics = dict(outcome.best if outcome.done else outcome.last)
        data = _describe(splits.info)
        if run is not None and finished:
            metrics = run.result["metrics"]
        elif outcome.done:
            metrics |= _test(program, splits, chosen, config)
            if run is not None and ranks.main:
                keep(space, run.path)
                genotype.save(run.genotype_path)
                counts = {"parameters": _parameters(program.model), "arguments": program.arguments, "data": data}
                counts |= {"selects": chosen.selects, "seconds": outcome.seconds}
                run.finish({"genotype": genotype.hash, "metrics": metrics, **counts})
        ranks.barrier()
        return Retrained(
            program.model,
            genotype,
            program.arguments,
            data,
            metrics,
            outcome.seconds,
            outcome.done,
            run.path if run is not None else None,
            space,
        )


def _warn_of_other_data(config: RetrainConfig) -> None:
    """A genotype that was found on other data is retrained as asked, but seldom on purpose."""
    path = Path(config.genotype or "?")
    run = RunFolder(path if path.is_dir() else path.parent)
    if not (run.path / "config.json").is_file() or not path.exists():
        return
    found = run.config.get("identity", {}).get("data", {}).get("name")
    if found and found != (here := data_label(config.data)):
        log.warning("the genotype was found on the data %s and is retrained on %s; data=... names others", found, here)


@contextmanager
def _folder(config: Any, stage: str, label: str | None, in_folder: bool, ranks: Ranks) -> Iterator[RunFolder | None]:
    """The run folder, held against other processes while the stage works in it; the main rank decides which it is."""
    if not in_folder:
        yield None
        return
    if ranks.restarted and config.run.fresh:  # it was fresh when torchrun started it the first time
        config = replace(config, run=replace(config.run, fresh=False))
    opened = ranks.first(lambda: RunFolder.open(config, stage, label, lock=True) if ranks.main else None)
    with opened or RunFolder(Path()) as run:
        path = ranks.broadcast(str(run.path))
        yield run if ranks.main else RunFolder(path)


def _looked_over(config: SearchConfig | RetrainConfig, splits: Splits | None, ranks: Ranks) -> Splits:
    """The data; what would end the training hours later ends it here."""
    if config.batch_size % ranks.world:
        raise SupernetError(f"batch_size={config.batch_size} must be a multiple of the {ranks.world} ranks")

    def work() -> Splits:
        found = splits or open_data(config.data, config.seed)
        if ranks.main:
            found.check()
        return found

    return ranks.first(work)


def _check_parts(config: SearchConfig, space: Space) -> None:
    """Unknown names are refused before a run folder is made."""
    method = config.method
    _ = RELAXATIONS[method.relaxation], HYPERGRADIENTS[method.hypergradient]
    _ = DISCRETISERS[method.discretiser] if method.discretiser else None
    executor = make_executor(config.executor)
    if isinstance(executor, Fused):
        executor.check(torch.empty(1, device=pick(config.device)))
    if method.discretiser not in (None, space.projection):
        raise SupernetError(
            f"method.discretiser={method.discretiser} does not fit space {space.name!r}; use {space.projection} or null"
        )


def _task(splits: Splits, smoothing: float = 0.0) -> Task:
    """The task that the data set names."""
    found: Task = TASKS[splits.info.task](splits.info.num_classes, smoothing=smoothing)
    return found


def _loop(
    program: SearchProgram | RetrainProgram, config: SearchConfig | RetrainConfig, run: RunFolder | None, ranks: Ranks
) -> Loop[Any]:
    if run is not None and ranks.main:
        log.info("run folder: %s", run.path)
    return Loop(program, run=run, checkpoint=config.checkpoint, log_config=config.log, ranks=ranks)


def _test(program: RetrainProgram, splits: Splits, task: Task, config: RetrainConfig) -> dict[str, float]:
    """Metrics of the test split; pictures come through timm's own loader, so that they are what timm would measure."""
    if not splits.has_test:
        return {}
    with splits.final_evaluation(), autocast(program.device, config.amp):
        view = splits.test().shared(*program.ranks.share)
        loader: Iterable[Any]
        if has_pictures(view):
            loader = timm_test_loader(view, splits.info, batch_size=config.batch_size, workers=config.data.workers)
        else:  # float tensors, or targets that are no classes: timm's loader has no way to read them
            loader = EvalLoader(view, batch_size=config.batch_size)
        batches = ([part.to(program.device) for part in batch] for batch in loader)
        found = evaluate(program.model, task, batches, program.ranks)
        return {f"test/{name}": value for name, value in found.items()}


def _describe(info: ImageInfo) -> dict[str, Any]:
    """What whoever uses the network must know of the data, in timm's terms where they are images."""
    if info.task != ImageInfo.task:
        return {"name": info.name, "task": info.task, "class_names": list(info.class_names)}
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
