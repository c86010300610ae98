"""Mixing weights as a sparse code of few numbers a node (ISTA-NAS; Yang et al., arXiv:2010.06176, section 3.2).

b in R^M learns, A [M, N] is drawn once from U[0, 1)        N: the options of all edges that enter a node
between epochs   x = argmin |A x - b|^2 / 2 + weight |x|_1,   S = the strongest options of x
in an epoch      p = x + A^T (b - A x) on S, 0 elsewhere      a step of ISTA without its threshold, linear in b

So the network that is searched is as sparse as the one that is found; a step runs what is on S alone
(`sampler=support`), and S changes only between epochs. Weights may be negative, in no softmax.

S is what the space keeps: the strongest operation of as many edges as a node has inputs (the authors: the two largest
|x| of a node, which may lie on one edge); where each row keeps one option, a row is a node of its own. `none` is left
out where a cell cannot take it. The authors solve by Mosek; here a path of least-angle regression gives the same point.
"""
# E edges, O operations, G nodes, M numbers a node, N = E * O

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...network.seeding import seeded
from ...space import Space, Table
from ...space.cells.top_k import TopKCells
from ..look import Look
from ..parts import RELAXATIONS, Relaxation
from .lasso import lasso

__all__ = ["SparseCode", "strongest_of"]

CODE_SCALE = 1e-3  # standard deviation of the initial b, the authors' code


@RELAXATIONS.register("sparse_code")
class SparseCode(Relaxation):
    """`dimensions` is M; `weight`, above 0, that of the sum of |x|. b learns with the alphas, which play no part."""

    traits = frozenset({"sparse code", "any real weight"})

    def __init__(self, dimensions: int = 7, weight: float = 1e-5) -> None:
        super().__init__()
        if dimensions < 1:
            raise SupernetError(f"relaxation sparse_code: dimensions={dimensions} must be 1 or more")
        if not weight > 0:
            raise SupernetError(f"relaxation sparse_code: weight={weight} must be above 0")
        self.dimensions, self.weight = dimensions, weight
        self.b = nn.ParameterDict()  # [G, M] a table
        # Buffers a table: A [M, N], the node of each column of A [N], x [E, O] and S [E, O] of 0 and 1.
        self.A, self.node, self.x, self.support = nn.Module(), nn.Module(), nn.Module(), nn.Module()

    def bind(self, net: Supernet, seed: int) -> None:
        """Draws A and b, and solves for the first x."""
        like = net.alphas()[0]
        with seeded(seed):
            for table in net.space.tables:
                node_E, _ = _nodes(net.space, table)
                rows, columns = table.shape
                options = torch.tensor(_options(net.space, table)).flatten()
                A = torch.rand(self.dimensions, rows * columns) * options
                self.A.register_buffer(table.name, A.to(like))
                node = torch.tensor(node_E, device=like.device).repeat_interleave(columns)
                self.node.register_buffer(table.name, node, persistent=False)
                b = CODE_SCALE * torch.randn(max(node_E) + 1, self.dimensions)
                self.b[table.name] = nn.Parameter(b.to(like))
                for part in (self.x, self.support):
                    part.register_buffer(table.name, torch.zeros(table.shape).to(like))
        self._solve(net)

    def end_epoch(self, look: Look) -> dict[str, float]:
        """Solves for the next epoch; gives the share of the support that is new."""
        return {"new_support": self._solve(look.net)}

    @torch.no_grad()
    def _solve(self, net: Supernet) -> float:
        """x and S anew of the present b; returns the share of S that was not in it before."""
        new = total = 0.0
        masks = net.masks()
        for table in net.space.tables:
            A, b, node = (
                t.detach().double().cpu().numpy()
                for t in (self.A.get_buffer(table.name), self.b[table.name], self.node.get_buffer(table.name))
            )
            left = np.asarray(masks[table.name]).flatten() & (A != 0).any(0)
            x = np.zeros(A.shape[1])
            for g in range(len(b)):
                members = left & (node == g)
                x[members] = lasso(A[:, members], b[g], self.weight)
            x_EO = x.reshape(table.shape)
            node_E, most = _nodes(net.space, table)
            support = strongest_of(np.abs(x_EO), left.reshape(table.shape), node_E, most)
            before = self.support.get_buffer(table.name)
            after = torch.from_numpy(support).to(before)
            new, total = new + float((after > before).sum()), total + float(after.sum())
            before.copy_(after)
            self.x.get_buffer(table.name).copy_(torch.from_numpy(x_EO))
        return new / max(total, 1.0)

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] of any sign, 0 outside the support; of the alphas only what is there is read."""
        A, node = self.A.get_buffer(table.name), self.node.get_buffer(table.name)
        x_EO, b_GM = self.x.get_buffer(table.name), self.b[table.name]
        parts_MN = A * x_EO.flatten()
        sums_GM = torch.zeros_like(b_GM).index_add(0, node, parts_MN.T)
        p_N = x_EO.flatten() + (A * (b_GM - sums_GM).index_select(0, node).T).sum(0)
        p_EO = p_N.view(table.shape) * self.support.get_buffer(table.name)
        return p_EO.masked_fill(torch.isinf(alpha_EO), 0.0)


def strongest_of(
    sizes_EO: NDArray[np.float64], left_EO: NDArray[np.bool_], node_E: Sequence[int], most: int
) -> NDArray[np.float64]:
    """[E, O] of 0 and 1: of each node the strongest options, by their sizes [E, O], of its `most` strongest rows.

    Of equals the first. Only options that are `left_EO` [E, O] count.
    """
    ranked_EO = np.where(left_EO, sizes_EO, -1.0)
    support = np.zeros_like(sizes_EO)
    for g in sorted(set(node_E)):
        rows = [row for row, node in enumerate(node_E) if node == g]
        for row in sorted(rows, key=lambda row: -ranked_EO[row].max())[:most]:
            support[row, int(ranked_EO[row].argmax())] = 1.0
    return support


def _nodes(space: Space, table: Table) -> tuple[list[int], int]:
    """(the number of the node of each row [E], how many rows each node keeps)"""
    if isinstance(space, TopKCells) and table.targets is not None:
        first = min(table.targets)
        return [target - first for target in table.targets], space.k
    return list(range(table.shape[0])), 1


def _options(space: Space, table: Table) -> list[list[bool]]:
    """[E][O]: what may be in a code, which is what a projection chooses from."""
    rows, columns = table.shape
    return [[column in space.competing(table, row) for column in range(columns)] for row in range(rows)]
