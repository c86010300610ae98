"""Fits a network's arguments to the data and the task, and checks before training that the network takes the data."""

import inspect
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.loader import EvalLoader
from ..data.sources import ImageInfo
from ..data.view import View
from ..errors import SupernetError
from ..network import Supernet
from ..space import Space
from ..space.cells import CellSpace
from ..tasks.task import Task, name_of
from .course import Course

__all__ = ["check_fits", "fit_arguments", "refuse_idle_cells"]

POINTS = 4  # of two choices of two widths that should be one choice, all agree once in 16 times


@torch.no_grad()
def check_fits(net: nn.Module, task: Task, view: View, device: torch.device) -> None:
    """Raises SupernetError where `net` cannot take two samples of `view`, or `task` not what it makes of them.

    Of a user's own network with choices some points are run too: what runs mixed may not fit together decided.
    """
    training = net.training
    net.eval()
    try:
        batch = next(iter(EvalLoader(view.subset(np.arange(min(2, len(view)))), batch_size=2, device=device)))
        inputs, targets = task.unpack(batch)
        _check_targets(_check_outputs(net, inputs, task), targets, task)
        if isinstance(net, Supernet) and net.space.factory is not None:
            _check_points(net, inputs, task)
    finally:
        net.train(training)


def _check_points(net: Supernet, inputs: Tensor, task: Task) -> None:
    rng = random.Random(0)
    try:
        for _ in range(POINTS):
            genotype = net.space.sample(rng)
            net.activate(genotype)
            try:
                _check_outputs(net, inputs, task)
            except SupernetError as error:
                decided = json.dumps(dict(genotype.decisions))[:200]
                raise SupernetError(f"the network that is decided as {decided} does not run: {error}") from None
    finally:
        net.deactivate()


def _check_targets(outputs: Tensor, targets: object, task: Task) -> None:
    """Raises SupernetError where the task's loss or its sums do not take the targets."""
    try:
        task.loss(outputs.float(), targets, training=False)
        task.sums(outputs.float(), targets)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, SupernetError):
            raise
        form = f"{list(targets.shape)} of {targets.dtype}" if isinstance(targets, Tensor) else type(targets).__name__
        reason = str(error).partition("\n")[0][:200]
        raise SupernetError(
            f"task {name_of(task)} cannot compare outputs {list(outputs.shape)} with targets {form}: {reason}"
        ) from None


def _check_outputs(net: nn.Module, inputs: Tensor, task: Task) -> Tensor:
    shape = tuple(inputs.shape[1:])
    try:
        outputs = net(inputs)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, SupernetError):
            raise
        reason = str(error).partition("\n")[0][:200]
        raise SupernetError(f"the network cannot take samples of the shape {shape}: {reason}") from None
    if (outputs.shape[1] if outputs.ndim > 1 else 1) != task.outputs:
        raise SupernetError(
            f"the network's outputs have the shape {tuple(outputs.shape)}; the task needs {task.outputs} a sample"
        )
    return outputs


def fit_arguments(network: Callable[..., Any], given: Mapping[str, Any], info: ImageInfo, task: Task) -> dict[str, Any]:
    """`given` with channels, size and classes of the data, where `network` has such arguments and none was given."""
    fitting = {"in_chans": info.in_chans, "image_size": info.image_size, "num_classes": task.outputs}
    takes = inspect.signature(network).parameters
    return {key: value for key, value in fitting.items() if key in takes} | dict(given)


def refuse_idle_cells(space: Space, network: Mapping[str, Any], course: Course, since: int = 0) -> None:
    """Raises SupernetError where a phase that decides has no cell of some kind, whose alphas would never learn there.

    Their noise would go into the genotype: with one or two layers of DARTS every cell is a reduction cell. `network`
    has the configuration's arguments. Networks that stand before phase `since` are running, and are let be.
    """
    if not isinstance(space, CellSpace):
        return
    checked: list[object] = []
    for number, phase in enumerate(course.phases):
        arguments = {**network, **course.network_of(number)}
        if phase.learns == {"weights"} or arguments in checked:
            continue
        if number >= since:
            with torch.device("meta"):  # the network without its memory
                sites = Supernet(space, executor="reference", **arguments).sites
            _refuse_idle(space, sites, arguments, f"phase {number + 1}: " if arguments != network else "")
        checked.append(arguments)


def _refuse_idle(space: CellSpace, sites: Sequence[str], network: Mapping[str, object], where: str) -> None:
    cure = "network.layers=3 is the smallest with each kind" if "layers" in network else "take a deeper one"
    if idle := [kind for kind in space.kinds if kind not in sites]:
        layers = f"network.layers={network['layers']}" if "layers" in network else "this network"
        raise SupernetError(
            f"{where}{layers} has no {' and no '.join(idle)} cell of space {space.name!r}, so its alphas never "
            f"learn and the genotype would hold noise; {cure}"
        )
