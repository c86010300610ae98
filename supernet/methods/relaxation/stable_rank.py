"""Convolutions weigh by the stable rank of their kernels (MSR-DARTS; Machida et al., arXiv:2009.09209).

r(W) = sum_i sigma_i^2 / sigma_1^2        W: the last convolution of an operation as a matrix [C_out, C_in k k]
p[e, o] = softmax over o of -r[e, o],     r[e, o] the mean over the cells of a table

A low stable rank bounds the generalisation error, so the operation of the least rank is chosen; no alphas learn, and
all data may train the weights. Ranks are taken anew at the end of each epoch. The authors' candidates are the four
separable and dilated convolutions: an operation without weights has no rank, gets the weight 0 and is not chosen.

Their code weighs each cell by its own ranks, and chooses by the mean over cells, as here. It takes singular values of
the convolution as an operator on images, and trains with spectral normalisation, which is left out: it divides a kernel
by a number, which changes neither its rank nor, in front of a batch norm, what the network computes. Its search looks
at the test split.
"""
# E edges, O operations

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...space import Table
from ..look import Look
from ..parts import RELAXATIONS, Relaxation

__all__ = ["StableRank", "stable_rank"]


@RELAXATIONS.register("stable_rank")
class StableRank(Relaxation):
    """Its numbers come from the weights of the network; one buffer [E, O] a table keeps them over an epoch."""

    traits = frozenset({"draws without alphas", "moves alphas"})

    def __init__(self) -> None:
        super().__init__()
        self.ranks = nn.Module()

    def bind(self, net: Supernet, seed: int) -> None:
        """Ranks of the initial weights; raises SupernetError for a row without any weights."""
        for table in net.space.tables:
            rank_EO = self._ranks(net, table)
            if empty := [row for row, ranks in zip(table.rows, rank_EO, strict=True) if not ranks.any()]:
                raise SupernetError(
                    f"method.relaxation=stable_rank compares the weights of operations, and on row {empty[0]!r} of "
                    f"table {table.name!r} of space {net.space.name!r} none has any"
                )
            self.ranks.register_buffer(table.name, rank_EO.to(net.alphas()[0]))

    @torch.no_grad()
    def end_epoch(self, look: Look) -> dict[str, float]:
        """Takes the ranks anew; gives the mean of those that there are."""
        means = []
        for table in look.net.space.tables:
            rank_EO = self._ranks(look.net, table)
            self.ranks.get_buffer(table.name).copy_(rank_EO)
            means.append(rank_EO[rank_EO > 0].mean())
        return {"stable_rank": float(torch.stack(means).mean())}

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] whose rows sum to 1; 0 for options without weights and what a row lacks."""
        rank_EO = self.ranks.get_buffer(table.name)
        return torch.softmax((-rank_EO).masked_fill(torch.isinf(alpha_EO) | (rank_EO == 0), float("-inf")), dim=-1)

    def _ranks(self, net: Supernet, table: Table) -> Tensor:
        """[E, O] on the host, in float64: the mean over the sites of a table, 0 where there are no weights."""
        sites = [number for number, name in enumerate(net.sites) if name == table.name]
        rank_EO = torch.zeros(table.shape, dtype=torch.float64)
        for row, mask in enumerate(table.mask):
            for column, there in enumerate(mask):
                if not there:
                    continue
                kernels = [_last_kernel(net.parameters_of(site, row, column)) for site in sites]
                ranks = [stable_rank(kernel) for kernel in kernels if kernel is not None]
                if ranks:
                    rank_EO[row, column] = sum(ranks) / len(ranks)
        return rank_EO


def stable_rank(kernel: Tensor) -> float:
    """sum sigma^2 / sigma_1^2 of a kernel [C_out, ...] as a matrix, 1 or more; 1 for zeros."""
    matrix = kernel.detach().flatten(1).double()
    largest = float(torch.linalg.matrix_norm(matrix, 2))
    return float(torch.linalg.matrix_norm(matrix)) ** 2 / largest**2 if largest else 1.0


def _last_kernel(parameters: list[nn.Parameter]) -> Tensor | None:
    """The last of the weights that are a matrix or a kernel."""
    return next((p for p in reversed(parameters) if p.dim() > 1), None)
