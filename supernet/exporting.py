"""The stage `export`: a finished run of the stage `retrain` becomes a folder that timm opens, and that is proven."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .config import ExportConfig
from .errors import SupernetError, unknown
from .export import MOST_DIFFERENCE, export_model, verify_export
from .export.timm_entry import check_reads_images
from .network import build_from
from .report.drawings import card_pictures
from .runs.checkpoint import Checkpoints
from .runs.folder import RunFolder
from .space import SPACES, Genotype
from .space.lookup import find_space

__all__ = ["Exported", "run_export", "trained_network"]


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
    run = _finished_retraining(config.run)
    result = run.result
    genotype = Genotype.load(run.genotype_path)
    if genotype.space not in SPACES:
        raise SupernetError(
            f"space {genotype.space[:60]!r} is not registered, so timm could not build its network again; in Python "
            "supernet.exporting.trained_network(RUN) loads it"
        )
    check_reads_images(genotype)
    model = trained_network(run.path)
    data = result["data"]
    example = torch.randn(4, *data["input_size"], generator=torch.Generator().manual_seed(0))
    found: list[float] = []

    def check(written: Path) -> None:
        found.append(verify_export(written, model, example))
        if not found[0] <= MOST_DIFFERENCE:
            raise SupernetError(f"the model reopened from {written} differs by {found[0]:.2e} in its outputs")

    folder = export_model(
        model,
        genotype,
        config.to or run.path / "model",
        arguments=result["arguments"],
        data=data,
        metrics={key: value for key, value in result["metrics"].items() if key.startswith(("val/", "test/"))},
        pictures=card_pictures(genotype),
        check=check,
    )
    return Exported(folder, found[0])


def trained_network(run: str | os.PathLike[str], allow: Sequence[str] = ()) -> nn.Module:
    """The selected network of the run folder `run`, in evaluation mode on the CPU.

    `allow` has the prefixes of import paths whose classes the run's space file may name.
    Raises SupernetError where it is no finished run of the stage retrain.
    """
    found = _finished_retraining(os.fspath(run))
    arguments = {k: v for k, v in found.result["arguments"].items() if k != "pretrained"}  # overwritten below
    genotype = Genotype.load(found.genotype_path)
    model = build_from(find_space(found.path, genotype, allow), genotype, **arguments)
    best = Checkpoints(found.checkpoints).best()
    if best is None:
        raise SupernetError(f"{found.path} has no checkpoint of its best epoch; retrain it with run.fresh=true")
    program = best[1]["program"]
    model.load_state_dict(program.get("ema", program["net"]))
    return model.eval()


def _finished_retraining(reference: str) -> RunFolder:
    run = RunFolder(Path(reference).expanduser())
    if not (run.path / "config.json").is_file():
        beside = [p.name for p in run.path.parent.iterdir() if p.is_dir()] if run.path.parent.is_dir() else []
        raise SupernetError(unknown(f"run folder in {run.path.parent}:", run.path.name, beside, most=6))
    stage = run.config.get("stage")
    if stage != "retrain":
        raise SupernetError(f"{run.path} is a run of stage {stage}; first: supernet retrain genotype={run.path}")
    if not run.finished:
        raise SupernetError(f"{run.path} is not finished; the command that began it goes on from its last checkpoint")
    return run
