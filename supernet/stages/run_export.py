"""An export as a function: the network of a retraining becomes a folder that timm opens, and that is proven."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import SupernetError
from ..export import MOST_DIFFERENCE, export_model, verify_export
from ..export.data_facts import complete
from ..export.timm_entry import check_reads_images
from ..report.drawings import card_pictures
from ..runs.shapes import RETRAINED, as_written
from ..space import SPACES, Genotype
from ..space.lookup import find_space
from ..train.trained import finished_retraining, trained_network
from .export_config import ExportConfig
from .run_retrain import Retrained

__all__ = ["Exported", "export_retrained", "run_export"]


@dataclass(frozen=True)
class Exported:
    """The folder that was written, and how far the outputs of the model reopened from it are from the original's."""

    folder: Path
    difference: float


def run_export(config: ExportConfig) -> Exported:
    """Write the selected network of the run `config.run`, open it in a fresh process and compare.

    Raises SupernetError where `config.run` is no finished run of the stage retrain, where its network reads no images
    (`trained_network` loads that), where the target holds anything but an earlier export, and where the reopened model
    computes something else; then no folder is left, and an earlier export stays as it was.
    """
    run = finished_retraining(config.run)
    result = run.trained(RETRAINED)
    genotype = Genotype.load(run.genotype_path)
    space = None
    if genotype.space in SPACES:
        check_reads_images(genotype)
    else:
        space = find_space(run.path, genotype, config.allow)
        if "input_size" not in result["data"]:
            raise SupernetError(
                f"timm holds image models, and the network of {run.path} reads something else; in Python "
                "supernet.train.trained.trained_network(RUN) loads it"
            )
    model = trained_network(run.path, config.allow)
    data = result["data"]
    with as_written(run.result_path, "what is known of images"):
        example = torch.randn(4, *complete(data, model, result["arguments"])["input_size"], generator=_generator())
    differences: list[float] = []

    def check(written: Path) -> None:
        difference = verify_export(written, model, example, allow=config.allow)
        if not difference <= MOST_DIFFERENCE:
            raise SupernetError(f"the model reopened from {written} differs by {difference:.2e} in its outputs")
        differences.append(difference)

    written = export_model(
        model,
        genotype,
        config.to or run.path / "model",
        arguments=result["arguments"],
        data=data,
        metrics={key: value for key, value in result["metrics"].items() if key.startswith(("val/", "test/"))},
        pictures=card_pictures(genotype),
        space=space,
        check=check,
    )
    return Exported(written, differences[0])


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def export_retrained(trained: Retrained, folder: str | Path, check: Callable[[Path], None] | None = None) -> Path:
    """Write the network that a retraining in this process gave; the folder's absolute path.

    `check` is called with what was written before that gets its name. Raises SupernetError where `folder` holds
    anything but an earlier export.
    """
    return export_model(
        trained.model,
        trained.genotype,
        folder,
        arguments=dict(trained.arguments),
        data=trained.data,
        metrics=dict(trained.metrics),
        pictures=card_pictures(trained.genotype),
        space=trained.space,
        check=check,
    )
