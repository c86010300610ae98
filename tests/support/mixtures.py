"""Problems whose loss is a function of the mixture alone or of a tiny network, for oracles of parts that change p."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from supernet.methods import Clock, Problem
from supernet.methods.part import Part
from supernet.network import Supernet
from supernet.network.mixture import Mixture
from supernet.space import get_space

__all__ = ["bound", "pair_net", "problem_on"]


def pair_net(operations: Sequence[str] = ("skip_connect", "sep_conv_3x3"), **arguments: Any) -> Supernet:
    """A DARTS supernet of one node with two edges a cell, in float64."""
    settings: dict[str, Any] = {"executor": "reference", "seed": 0, "channels": 2, "layers": 3, "in_chans": 1}
    return Supernet(get_space("darts", nodes=1, operations=list(operations)), **settings | arguments).double()


def problem_on(
    net: Supernet, loss: Callable[[Mixture], Tensor], weights: Sequence[Tensor] | None = None, **more: Any
) -> Problem:
    """A problem on `net`, or on weights of any shapes, whose losses are `loss`, a scalar, of a mixture."""

    def run(_: str, mixture: Mixture | None) -> tuple[Tensor, Tensor]:
        return loss(net.mixture() if mixture is None else mixture), torch.empty(0)

    settings: dict[str, Any] = {"lr": 0.1, "mixture": net.mixture}
    return Problem(
        net.weights() if weights is None else weights, net.alphas(), run, lambda value, _: value, **settings | more
    )


def bound(part: Part, net: Supernet, clock: Clock | None = None, seed: int = 0) -> Any:
    """`part`, tied to a network and prepared for a step."""
    part.bind(net, seed)
    part.prepare(clock or Clock())
    return part
