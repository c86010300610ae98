"""A base for regularisers that are a function of the rows of alphas, added to the validation loss with a factor.

L_val + factor(e) * sum over tables of penalty(alpha [E, O])
"""
# E edges, O operations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ...network import Supernet
from ...space import Table
from ..part import Clock
from ..parts import Regulariser
from ..problem import Problem, gradient

__all__ = ["AlphaPenalty"]


class AlphaPenalty(Regulariser):
    """`penalty` says which function, `factor_at` how much of it in an epoch; the factor is a number in its place."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.zeros(()), persistent=False)
        self._net: list[Supernet] = []  # in a list: the network is no part of this module

    @abstractmethod
    def penalty(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """A scalar of the alphas [E, O] of a table, which are -inf where a row lacks the option."""

    @abstractmethod
    def factor_at(self, clock: Clock) -> float:
        """The factor in an epoch."""

    def bind(self, net: Supernet, seed: int) -> None:
        self._net = [net]
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.factor.fill_(self.factor_at(clock))

    def alphas(self, problem: Problem) -> Sequence[Tensor] | None:
        """factor * d penalty / d alpha, [E, O] a table."""
        (net,) = self._net
        masked = net.options.masked(dict(net.alpha.items()))
        total = torch.stack([self.penalty(masked[table.name], table) for table in net.space.tables]).sum()
        return [self.factor.to(g.dtype) * g for g in gradient(total, problem.alphas)]
