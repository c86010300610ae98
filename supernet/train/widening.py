"""A wider network out of a narrower one: new channels are copies of random ones (DrNAS, arXiv:2006.10355, section 3.4).

w'[i, j] = w[c(i), c(j)],    c(i) = i for channels that were there, else one of them, drawn

Weights, running statistics and momenta grow alike, those of one operation on one edge by the same draw. As in the
authors' code nothing is divided by how often a channel is copied, so the function of the network is not kept.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..counter import uniform
from ..methods.optimizers import load_into
from ..runs.state import State
from .bilevel import BilevelStep
from .inheritance import hand_on

__all__ = ["widen", "wider"]

OPERATION = re.compile(r".*\.edges\.\d+\.\d+")  # one operation on one edge of one cell


@torch.no_grad()
def widen(state: State, step: BilevelStep, seed: int) -> None:
    """Copies what a step's `state_dict` holds into the wider `step`, its optimisers' states too."""
    hand_on(state, step)
    for new, old in ((step.net.state_dict(), state["net"]), (step.method.state_dict(), state["parts"])):
        for name, tensor in new.items():
            before = old.get(name)
            if isinstance(before, Tensor) and before.shape != tensor.shape:
                tensor.copy_(wider(before, tensor.shape, name, seed))
    names = {id(p): name for name, p in (*step.net.named_parameters(), *step.method.named_parameters())}
    for optimizer, saved in (
        (step.weight_optimizer, state["weight_optimizer"]),
        (step.alpha_optimizer, state["alpha_optimizer"]),
    ):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grown = {
            number: _grown(saved["state"].get(number, {}), p.shape, names[id(p)], seed)
            for number, p in enumerate(parameters)
        }
        load_into(optimizer, {"state": grown})


def wider(tensor: Tensor, shape: Sequence[int], name: str, seed: int) -> Tensor:
    """`tensor`, of any shape, grown to `shape` along every dimension that differs; ValueError where it would shrink.

    `name` is that in a state dict: what belongs to one operation grows by one draw.
    """
    if tensor.dim() != len(shape) or any(new < old for old, new in zip(tensor.shape, shape, strict=True)):
        raise ValueError(f"{name} of the shape {list(tensor.shape)} cannot be widened to {list(shape)}")
    match = OPERATION.match(name)
    owner = match.group() if match else name.rpartition(".")[0]
    for dimension, (old, new) in enumerate(zip(tensor.shape, shape, strict=True)):
        if new > old:
            drawn = uniform(seed, f"{owner}/{old}/{new}", 0, np.arange(new - old, dtype=np.int64), 1)[:, 0] * old
            index = torch.cat([torch.arange(old), torch.from_numpy(drawn.astype(np.int64))])
            tensor = tensor.index_select(dimension, index.to(tensor.device))
    return tensor


def _grown(state: Mapping[str, object], shape: Sequence[int], name: str, seed: int) -> dict[str, object]:
    """The state of one parameter; numbers and counts stay as they are."""
    return {
        key: wider(value, shape, name, seed) if isinstance(value, Tensor) and value.dim() == len(shape) > 0 else value
        for key, value in state.items()
    }
