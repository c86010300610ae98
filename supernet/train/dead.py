"""Architectures whose output their input does not reach: by the rule of their space, else by running their networks."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..data.loader import EvalLoader
from ..data.view import View
from ..network import Supernet
from ..network.unreached import WHY, constant, unreached
from ..space import Genotype, Space
from ..tasks.task import Task

__all__ = ["DeadPoints", "dead_network", "samples_of"]

SAMPLES = 4  # of the data, which every rank takes alike


def samples_of(view: View, task: Task, device: torch.device) -> Tensor | None:
    """The inputs [B, ...] of the first samples of `view`; None of a task whose inputs are no tensor."""
    batch = next(iter(EvalLoader(view.subset(np.arange(min(SAMPLES, len(view)))), batch_size=SAMPLES, device=device)))
    inputs = task.unpack(batch)[0]
    return inputs if isinstance(inputs, Tensor) else None


def dead_network(space: Space, net: nn.Module, samples: Callable[[], Tensor | None]) -> str:
    """Why nothing of its input reaches the output of the discrete network `net`; "" where it does.

    Only of spaces without a rule of their own, which `Space.dead` asks for. `samples` gives inputs [B, ...].
    """
    return WHY if space.factory is not None and _judged(lambda x: unreached(net, x), samples()) else ""


def _judged(is_dead: Callable[[Tensor], bool], x: Tensor | None) -> bool:
    """What `is_dead` says of samples; False of a network that does not take them, or not one by one."""
    try:
        return x is not None and is_dead(x)
    except (RuntimeError, ValueError, TypeError, IndexError):  # what is wrong there is said where it is trained
        return False


class DeadPoints:
    """Says of the points of a search's space whether they are dead; each is run once."""

    def __init__(self, space: Space, samples: Callable[[], Tensor | None]) -> None:
        self.space, self._samples = space, samples
        self._answers: dict[Genotype, str] = {}

    def why(self, net: Supernet, genotype: Genotype) -> str:
        """Why nothing of its input reaches the output of a point's network; "" where it does.

        `net` lends its weights.
        """
        if self.space.factory is None:
            return self.space.dead(genotype)
        if genotype not in self._answers:
            dead = _judged(lambda x: self._is_dead(net, genotype, x), self._samples())
            self._answers[genotype] = WHY if dead else ""
        return self._answers[genotype]

    def _is_dead(self, net: Supernet, genotype: Genotype, x: Tensor) -> bool:
        net.activate(genotype)
        try:
            if not constant(net, x):  # quick, and true of nearly all
                return False
        finally:
            net.deactivate()
        return unreached(net.discretize(genotype)[0], x)
