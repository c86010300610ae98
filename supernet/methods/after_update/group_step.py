"""A proximal step that takes whole operations to zero (GSparsity; Chatzimichailidis et al., openreview r0GeE-arUe5).

L_train + mu * sum over groups of |w_g| / sqrt(d_g)         a group: one operation on one edge, over all cells of a kind
v  <- (1 - m) b                                             b the momentum buffer of SGD, m its momentum
b_ <- w - v,   w^ = max(1 - mu / (sqrt(d) |b_|), 0) b_      the closest point to b_ with the penalty, group by group
w  <- w + eps (w^ - w),   eps = lr / (1 - m)

d is the count of numbers of a group. SGD has taken the step without the penalty, w - eps v; what is left is to take off
eps min(mu / (sqrt(d) |b_|), 1) b_. The authors' own optimiser averages gradients by v <- (1 - rho) v + rho g with
rho = .8, a rate of .01 and mu = 120: here momentum .2 and a rate of .01 * (1 - .2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ..groups import groups_of
from ..parts import AFTER_UPDATES, AfterUpdate
from ..problem import Problem

__all__ = ["GroupStep", "shrinkage"]


@AFTER_UPDATES.register("group_step")
class GroupStep(AfterUpdate):
    """`mu`, 0 or more, is the weight of the penalty. Costs a copy of the operations' weights a step."""

    traits = frozenset({"groups weights"})

    def __init__(self, mu: float = 120.0) -> None:
        super().__init__()
        if mu < 0:
            raise SupernetError(f"group_step: mu={mu} must be 0 or more")
        self.mu = float(mu)
        self._groups: list[list[Tensor]] = []
        self._before: list[tuple[list[Tensor], list[Tensor]]] = []  # (weights, their values) a group

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError for a decision whose options share their weights."""
        for table in net.space.tables:
            sites = [number for number, site in enumerate(net.sites) if site == table.name]
            places = [(row, column) for row in range(table.shape[0]) for column in range(table.shape[1])]
            if not any(net.body.parameters_of(site, row, column) for site in sites for row, column in places):
                raise SupernetError(
                    f"method.after_update=group_step takes the weights of single options to zero, and no option of "
                    f"decision {table.name!r} of space {net.space.name!r} has weights of its own"
                )
        owned: set[int] = set()  # by the smallest group: options may lie inside of others
        self._groups = []
        for members in sorted(groups_of(net).values(), key=len):
            own = [w for w in members if id(w) not in owned]
            owned |= {id(w) for w in own}
            if own:
                self._groups.append(own)

    @torch.no_grad()
    def before(self, problem: Problem) -> None:
        """Keeps the weights of the groups, of any shapes, where they learn."""
        learns = {id(w) for w in problem.weights}
        groups = [[w for w in members if id(w) in learns] for members in self._groups]
        self._before = [(members, [w.clone() for w in members]) for members in groups if members]

    @torch.no_grad()
    def forward(self, problem: Problem) -> None:
        """The proximal part of the step; nothing where the guard has let the optimiser take none."""
        buffers = dict(zip(map(id, problem.weights), problem.momentum_buffers, strict=False))
        if not self._before:
            return
        flat = [pair for members, values in self._before for pair in zip(members, values, strict=True)]
        stepped = torch.stack([(w != value).any() for w, value in flat]).any()
        rest = 1 - problem.momentum
        for members, values in self._before:
            aims = [value - rest * _velocity(w, value, buffers.get(id(w)), problem) for w, value in
                    zip(members, values, strict=True)]  # fmt: skip
            take = stepped * (problem.lr / rest) * (1 - shrinkage(aims, self.mu))
            torch._foreach_sub_(members, [take.to(aim.dtype) * aim for aim in aims])
        self._before = []


def shrinkage(group: Sequence[Tensor], mu: float) -> Tensor:
    """max(1 - mu / (sqrt(d) |b|), 0), a scalar, for the tensors b of any shapes of a group of d numbers."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(group))))
    size = sum(b.numel() for b in group)
    return (1 - mu / (size**0.5 * norm).clamp_min(torch.finfo(norm.dtype).tiny)).clamp_min(0)


def _velocity(w: Tensor, value: Tensor, buffer: Tensor | None, problem: Problem) -> Tensor:
    """The direction in which SGD has stepped, of the shape of the weight."""
    return buffer if buffer is not None else (value - w) / problem.lr
