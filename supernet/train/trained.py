"""The network of a finished retraining, from its run folder."""

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SupernetError, short
from ..network import build_from
from ..network.bounded import sized_by_files
from ..network.macro import macro_of
from ..network.shapes import difference
from ..runs.checkpoint import Checkpoints
from ..runs.folder import RunFolder
from ..runs.same_data import noted_digest
from ..runs.shapes import RETRAINED, as_written
from ..space import Genotype, Space
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
    result = retraining.trained(RETRAINED)
    arguments = {key: value for key, value in result["arguments"].items() if key != "pretrained"}  # overwritten below
    genotype = Genotype.load(retraining.genotype_path, links=False)
    if genotype.hash != result["genotype"]:
        raise SupernetError(
            f"{retraining.genotype_path} is of another run: its hash is {genotype.hash}, and what was trained has "
            f"{short(result['genotype'])}"
        )
    space = find_space(retraining.path, genotype, allow)
    if "pretrained" in inspect.signature(macro_of(space).discrete).parameters:
        arguments["pretrained"] = False  # its weights are overwritten below
    # A checkpoint of another run is refused by the hash of its settings, and by the digest of its data.
    best = Checkpoints(retraining.checkpoints, config=retraining.hash, data=noted_digest(retraining)).best()
    if best is None:
        raise SupernetError(f"{retraining.path} has no checkpoint of its best epoch; retrain it with run.fresh=true")
    weights = selected_weights(best[1]["program"])
    with as_written(retraining.result_path, "the arguments of a network"):
        _check_sizes(retraining, space, genotype, arguments, weights)
        model = build_from(space, genotype, **arguments)
    with as_written(retraining.checkpoints, "the weights of this network"):
        model.load_state_dict(weights)
    return model.eval()


def _check_sizes(
    run: RunFolder, space: Space, genotype: Genotype, arguments: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Raises SupernetError where result.json describes another network than the weights are of, before it is built."""
    if not sized_by_files(space):
        return
    with torch.device("meta"):
        network = build_from(space, genotype, **arguments)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if differs := difference(shapes, {name: tensor.shape for name, tensor in weights.items()}):
        raise SupernetError(f"{run.result_path} describes another network than the best checkpoint is of: {differs}")
