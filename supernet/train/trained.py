"""The network of a finished retraining, from its run folder."""

import os
from collections.abc import Sequence

from torch import nn

from ..errors import SupernetError
from ..network import build_from
from ..runs.checkpoint import Checkpoints
from ..runs.folder import RunFolder
from ..space import Genotype
from ..space.lookup import find_space
from .retrain import selected_weights

__all__ = ["finished_retraining", "trained_network"]


def finished_retraining(reference: str | os.PathLike[str]) -> RunFolder:
    """The run folder `reference`; raises SupernetError where it is no finished run of the stage retrain."""
    run = RunFolder.existing(reference)
    stage = run.config.get("stage")
    if stage != "retrain":
        raise SupernetError(f"{run.path} is a run of stage {stage}; first: supernet retrain genotype={run.path}")
    if not run.finished:
        raise SupernetError(f"{run.path} is not finished; the command that began it goes on from its last checkpoint")
    return run


def trained_network(run: str | os.PathLike[str], allow: Sequence[str] = ()) -> nn.Module:
    """The selected network of the run folder `run`, in evaluation mode on the CPU.

    `allow` has the prefixes of import paths whose classes the run's space file may name.
    Raises SupernetError where it is no finished run of the stage retrain.
    """
    retraining = finished_retraining(run)
    stored = retraining.result["arguments"]
    arguments = {key: value for key, value in stored.items() if key != "pretrained"}  # overwritten below
    genotype = Genotype.load(retraining.genotype_path)
    model = build_from(find_space(retraining.path, genotype, allow), genotype, **arguments)
    best = Checkpoints(retraining.checkpoints).best()
    if best is None:
        raise SupernetError(f"{retraining.path} has no checkpoint of its best epoch; retrain it with run.fresh=true")
    model.load_state_dict(selected_weights(best[1]["program"]))
    return model.eval()
