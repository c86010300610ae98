"""What a new phase takes over from the one before: weights of the same name and shape, and the strongest operations."""
# E edges, O operations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..network.mixture import HostMask
from ..runs.state import State
from .bilevel import BilevelStep

__all__ = ["hand_on", "strongest"]


@torch.no_grad()
def hand_on(state: State, step: BilevelStep) -> None:
    """Copies what a step's `state_dict` holds into `step`, tensor by tensor where name and shape agree.

    Weights, alphas, running statistics and the parts' own parameters; optimisers begin anew, since their steps were
    those of another network.
    """
    for new, old in ((step.net.state_dict(), state["net"]), (step.method.state_dict(), state["parts"])):
        for name, tensor in new.items():
            before = old.get(name)
            if isinstance(before, Tensor) and before.shape == tensor.shape:
                tensor.copy_(before)


def strongest(
    strengths: Mapping[str, Sequence[Sequence[float]]], masks: Mapping[str, HostMask], keep: int
) -> dict[str, HostMask]:
    """For each table the mask [E][O] of the `keep` strongest options of each row among those that may run.

    Of equals the first; a row with fewer keeps all it has.
    """
    chosen: dict[str, HostMask] = {}
    for name, rows in strengths.items():
        mask: list[tuple[bool, ...]] = []
        for row, runs in zip(rows, masks[name], strict=True):
            order = sorted((column for column in range(len(row)) if runs[column]), key=lambda column: -row[column])
            mask.append(tuple(column in order[:keep] for column in range(len(row))))
        chosen[name] = tuple(mask)
    return chosen
