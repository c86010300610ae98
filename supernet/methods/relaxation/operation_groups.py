"""A softmax for each group of operations (DOTS; Gu et al., arXiv:2010.01969, section 3.3; authors' code).

p[e, o] = exp(alpha[e, o]) / sum of exp(alpha[e, o']) over the operations o' of the group of o

Operations without weights (none, skips, pools) and those with weights do not compete with each other: the first learn
faster and would push the others out. Each row so sums to the number of groups. Once the weights have been drawn anew
(`watchers=best_of_groups` has left the best of each group), one softmax over what is left decides between them; how the
authors decide there is recalled no more, and this is ours.
"""
# E edges, O operations

import torch
from torch import Tensor, nn

from ...network import Supernet
from ...space import Table
from ..part import Clock
from ..parts import RELAXATIONS, Relaxation

__all__ = ["FREE", "OperationGroups", "free"]

FREE = ("none", "skip_connect", "max_pool", "avg_pool", "noise", "identity")  # how names of the first group begin


@RELAXATIONS.register("operation_groups")
class OperationGroups(Relaxation):
    """Two groups in each table; one where the weights have been drawn anew. Alphas begin at 0, as the authors' do."""

    together: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("together", torch.zeros((), dtype=torch.bool))
        self.free = nn.Module()  # a buffer [O] a table: whether an operation has no weights

    def bind(self, net: Supernet, seed: int) -> None:
        device = net.alphas()[0].device
        for alpha in net.alphas():
            nn.init.zeros_(alpha)
        for table in net.space.tables:
            self.free.register_buffer(table.name, torch.tensor(free(table), device=device), persistent=False)
        self.to(device)

    def prepare(self, clock: Clock) -> None:
        self.together.fill_(clock.stage > 0)

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] of alphas [E, O]; a row sums to the number of groups that it has."""
        free_O = self.free.get_buffer(table.name)
        without_weights = _softmax_over(alpha_EO, free_O | self.together)
        return torch.where(free_O, without_weights, _softmax_over(alpha_EO, ~free_O | self.together))


def free(table: Table) -> list[bool]:
    """Of each column whether its operation has no weights, by its name."""
    return [name.startswith(FREE) for name in table.columns]


def _softmax_over(alpha_EO: Tensor, group_O: Tensor) -> Tensor:
    """The softmax [E, O] over the columns of a group; 0 elsewhere, and in rows that have none of them."""
    inside = group_O & torch.isfinite(alpha_EO)
    # The lowest number in place of -inf: a row of -inf alone would be 0 / 0, forwards and backwards.
    lowest = torch.finfo(alpha_EO.dtype).min
    return torch.softmax(alpha_EO.masked_fill(~inside, lowest), dim=-1) * inside
