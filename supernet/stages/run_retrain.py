"""A retraining as a function: the network of a genotype, trained from scratch, tested once for the selected epoch."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import cost
from ..config import RetrainConfig
from ..data.loader import Batch, EvalLoader
from ..data.sources import ImageInfo
from ..data.splits import Splits
from ..data.timm_eval import as_batches, has_pictures, timm_test_loader
from ..errors import NumbersError, SupernetError
from ..network.macro import macro_of
from ..report.notebook import epochs_of, result_html, result_text
from ..runs.folder import RunFolder, as_begun
from ..runs.names import data_label
from ..runtime.device import autocast, pick, seed_everything
from ..runtime.out_of_memory import as_configured
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..space.lookup import find_genotype, find_space
from ..tasks.regression import Regression
from ..tasks.task import Task, name_of
from ..train.compatibility import fit_arguments
from ..train.dead import dead_network, samples_of
from ..train.measure import evaluate
from ..train.retrain import RetrainProgram, discrete_network
from .controls.beside import Control, drawn, measured, settings_of_control
from .labels import label_of_retraining
from .report.reporter import Reporter
from .running import data_of, loop_of, run_folder, task_of
from .space_config import keep

if TYPE_CHECKING:
    from ..export.data_facts import DataFacts

__all__ = ["Retrained", "run_retrain"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Retrained:
    """What retraining gives: the selected network with its metrics, and what exporting it needs."""

    model: nn.Module
    genotype: Genotype
    arguments: Mapping[str, object]
    data: "DataFacts"
    metrics: Mapping[str, float]
    seconds: float
    done: bool
    folder: Path | None
    space: Space | None = None
    history: Sequence[Mapping[str, object]] = ()  # the metrics of each epoch that ended in this process
    controls: Sequence[Control] = ()  # random cells of equal size, trained beside it

    def __repr__(self) -> str:
        return result_text("Retrained", self.genotype, self.metrics, self.done, self.folder)

    def _repr_html_(self) -> str:
        """What a notebook shows: the cells and the epochs."""
        rows = epochs_of(self.folder, self.history)
        return result_html("retraining", self.space, self.genotype, self.metrics, rows)


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
    """Train a genotype to the end, or to step `until`; then open the test split once, for the selected epoch.

    A genotype, a space, data and a task may be handed over that the settings cannot name. With `in_folder` the training
    lives in a run folder, and is resumed there; a finished one only gives its result. Raises SupernetError for settings
    that do not fit together.
    """
    ranks = Ranks.join()
    reference = genotype or config.genotype
    genotype, name = find_genotype(reference)
    label = label_of_retraining(config, name)
    if in_folder:
        config = as_begun(config, "retrain", label.text, prefix=label.prefix)
    space = space or find_space(reference, genotype, config.allow)
    _refuse_dead(space.dead(genotype), genotype, config)
    if ranks.main:
        _warn_of_other_data(config)
    handed = splits, task
    splits, same_data = data_of(config, "retrain", splits, ranks)
    task = task or task_of(splits, config.task, config.recipe.smoothing)
    controls = _controls(config, space, genotype, splits, task, handed, in_folder)
    with run_folder(config, "retrain", label, in_folder, ranks, same_data) as run:
        finished = run is not None and run.finished
        seed_everything(config.seed)
        net, arguments = discrete_network(config, space, genotype, splits.info, task)
        if (run is None or run.new) and not config.allow_dead:
            _refuse_dead(dead_network(space, net, lambda: _samples(splits, task, config)), genotype, config)
        program = RetrainProgram(config, net, splits, task, ranks.device(pick(config.device)), ranks)
        reporter = Reporter(run, config.log, space, ranks.main)
        loop = loop_of(program, config, run, ranks, reporter.epoch)
        outcome = loop.run(until)
        if outcome.done:
            _refuse_nonsense(outcome.best, config)
            loop.load_best()
        metrics = dict(outcome.best if outcome.done else outcome.last)
        if run is not None and finished:
            metrics = run.trained()["metrics"]
        elif outcome.done:
            metrics |= _test(program, splits, task, config)
            if run is not None and ranks.main:
                keep(space, run.path)
                genotype.save(run.genotype_path)
                facts = {"arguments": arguments, "data": _describe(splits.info, task), "seconds": outcome.seconds}
                facts |= {"parameters": _parameters(program.model), "selects": task.selects}
                facts |= {"controls": [one.as_json() for one in controls]} if controls else {}
                run.finish({"genotype": genotype.hash, "metrics": metrics, **facts})
                reporter.end()
        ranks.barrier()
        path = run.path if run is not None else None
        trained = program.model, genotype, arguments, _describe(splits.info, task), metrics
        return Retrained(*trained, outcome.seconds, outcome.done, path, space, outcome.history, controls)


def _controls(
    config: RetrainConfig,
    space: Space,
    genotype: Genotype,
    splits: Splits,
    task: Task,
    handed: tuple[Splits | None, Task | None],
    in_folder: bool,
) -> list[Control]:
    """Random cells of equal size, trained as `genotype` will be; `handed` are data and task as they were given."""
    if not config.controls:
        return []
    if not splits.has_test and splits.for_retrain(config.val_fraction)[1] is None:
        raise SupernetError("controls are compared on a test split or a validation part: set val_fraction above 0")
    arguments = fit_arguments(macro_of(space).discrete, config.network, splits.info, task)
    points = drawn(space, genotype, config, lambda point: cost.parameters(point, space=space, **arguments))
    controls: list[Control] = []
    for number, point in enumerate(points, start=1):
        log.info("control %d of %d: a random cell of equal size", number, len(points))
        settings = settings_of_control(config, number)
        data = handed[0].again() if handed[0] is not None else None  # each network has a test of its own
        one = run_retrain(settings, genotype=point, space=space, splits=data, task=handed[1], in_folder=in_folder)
        metric, score = measured(one.metrics, task.selects)
        folder = str(one.folder) if one.folder else None
        seconds = RunFolder(one.folder).trained()["seconds"] if one.folder else one.seconds
        controls.append(Control(point.hash, _parameters(one.model), metric, score, task.maximise, seconds, folder))
    return controls


def _samples(splits: Splits, task: Task, config: RetrainConfig) -> Tensor | None:
    return samples_of(splits.for_retrain(config.val_fraction)[0], task, torch.device("cpu"))


def _refuse_dead(why: str, genotype: Genotype, config: RetrainConfig) -> None:
    """Raises SupernetError for a network whose output its input does not reach, without the user's consent."""
    if why and not config.allow_dead:
        raise SupernetError(
            f"genotype {genotype.hash}: {why}, so that it can learn nothing; allow_dead=true retrains it all the same, "
            "and a search with dead_cells=neighbour takes a live one near it"
        )


def _refuse_nonsense(best: Mapping[str, object], config: RetrainConfig) -> None:
    """Raises NumbersError where not even the best epoch has finite numbers on the validation part."""
    names = [name for name, v in best.items() if name.startswith("val/") and isinstance(v, float) and not isfinite(v)]
    if names:
        raise NumbersError(
            f"{' and '.join(names)} was finite in none of the {config.epochs} epochs, so that nothing can be selected: "
            "look for samples that are not finite in the validation part, or lower recipe.lr",
            {"metrics": names},
        )


def _warn_of_other_data(config: RetrainConfig) -> None:
    """A genotype that was found on other data is retrained as asked, but seldom on purpose."""
    path = Path(config.genotype or "?")
    run = RunFolder(path if path.is_dir() else path.parent)
    if not (run.path / "config.json").is_file() or not path.exists():
        return
    searched = run.config["identity"].get("data")
    searched_on = searched.get("name") if isinstance(searched, dict) else None
    if searched_on and searched_on != (here := data_label(config.data)):
        log.warning(
            "the genotype was found on the data %s and is retrained on %s; data=... names others", searched_on, here
        )


def _test(program: RetrainProgram, splits: Splits, task: Task, config: RetrainConfig) -> dict[str, float]:
    """Metrics of the test split; pictures come through timm's own loader, so that they are what timm would measure."""
    if not splits.has_test:
        return {}
    with splits.final_evaluation(), autocast(program.device, config.amp):
        view = splits.test().shared(*program.ranks.share)
        loader: Iterable[Batch]
        if has_pictures(view):
            loader = as_batches(
                timm_test_loader(view, splits.info, batch_size=config.batch_size, workers=config.data.workers),
                view,
                program.device,
            )
        else:  # float tensors, or targets that are no classes: timm's loader has no way to read them
            loader = EvalLoader(view, batch_size=config.batch_size, workers=config.data.workers, device=program.device)
        metrics = evaluate(program.model, task, loader, program.ranks)
        return {f"test/{name}": value for name, value in metrics.items()}


def _describe(info: ImageInfo, task: Task) -> "DataFacts":
    """What whoever uses the network must know of the data, in timm's terms where they are images."""
    if not info.images:
        return {"name": info.name, "task": info.task, "class_names": list(info.class_names)}
    other: DataFacts = {}
    if (name := name_of(task)) != ImageInfo.task:
        other = {"task": name, "selects": task.selects}
    if isinstance(task, Regression) and task.mean:
        other |= {"target_mean": list(task.mean), "target_std": list(task.deviation)}
    return {
        **other,
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
