"""The strongest path alone, found by projection (NASP; Yao, Xu, Tu and Zhu, arXiv:1905.13577, section 3).

k[e] = argmax_o p[e, o];   at each node the `edges` rows with the largest p[e, k[e]] stay
b[e, o] = 1 where o = k[e] and row e stays, else 0
weights' half    the network runs b, and nothing else
alphas' half     all operations run, weighed by b, and dL/da is the gradient dL/db there, for each of them

The gradient is taken at a discrete point and applied to the continuous alphas, which are clipped to [0, 1]
(`relaxation=identity`, `alpha_optimiser=clipped_adam`). As in the authors' code a step of the alphas costs what that of
DARTS does, and a step of the weights one path. Theirs takes the first of equals, and all alphas are equal at the start;
here `none` is never the strongest where a cell cannot take it.
"""
# E edges, O operations, N nodes

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ...space.cells.top_k import TopKCells
from ..parts import SAMPLERS, Sampler

__all__ = ["Top1"]


@SAMPLERS.register("top1")
class Top1(Sampler):
    """No draw. `edges` stay at each node (None: as many as the space's cells keep, all where they keep all)."""

    traits = frozenset({"one path", "edge weights"})

    def __init__(self, edges: int | None = None) -> None:
        super().__init__()
        if edges is not None and edges < 1:
            raise SupernetError(f"sampler top1: edges={edges} must be 1 or more")
        self.edges = edges

    def bind(self, net: Supernet, seed: int) -> None:
        """Notes which options compete, and which rows enter which node."""
        space, device = net.space, net.alphas()[0].device
        if self.edges is None and isinstance(space, TopKCells):
            self.edges = space.k
        for table in space.tables:
            rows, columns = table.shape
            competes = [[o in space.competing(table, e) for o in range(columns)] for e in range(rows)]
            self.register_buffer(f"competes_{table.name}", torch.tensor(competes, device=device), persistent=False)
            targets = torch.tensor(table.targets or range(rows), device=device)
            enters = targets[None, :] == targets.unique()[:, None]
            self.register_buffer(f"enters_{table.name}", enters, persistent=False)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(weights [E, O] of 0 and 1, None); in the weights' half the gate [E, O] of the ones in place of None."""
        with torch.no_grad():
            keys = torch.where(torch.isfinite(alpha_EO), p_EO, float("-inf"))
            # Where nothing that competes is left, what is left does.
            competes = self.get_buffer(f"competes_{self.table.name}") & torch.isfinite(keys)
            keys = torch.where(competes | ~competes.any(-1, keepdim=True), keys, float("-inf"))
            best_E, column_E = keys.max(dim=-1)
            gate = torch.zeros_like(keys, dtype=torch.bool).scatter_(-1, column_E[:, None], True)
            gate &= self._stays(best_E)[:, None]
        weights = gate.to(p_EO.dtype)
        if self.for_half == "weights":
            return weights, gate
        return weights + (p_EO - p_EO.detach()), None

    def _stays(self, best_E: Tensor) -> Tensor:
        """[E]: true where a row is among the strongest of its node, by `best_E` [E]."""
        enters_NE = self.get_buffer(f"enters_{self.table.name}")
        if self.edges is None:
            return torch.ones_like(best_E, dtype=torch.bool)
        best_NE = torch.where(enters_NE, best_E, float("-inf"))
        first = best_NE.topk(min(self.edges, best_NE.shape[1]), dim=-1).indices
        return (torch.zeros_like(enters_NE).scatter_(-1, first, True) & enters_NE).any(0)
