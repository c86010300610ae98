"""Edge normalisation (PC-DARTS; Xu et al., arXiv:1907.05737, section 3.3).

b = softmax(beta) over the edges that enter one node;    p[e, o]  <-  b[e] p[e, o]

With operations on a part of the channels the gradients by alpha waver; the weight of a whole edge, shared by its
operations, wavers less and decides with them: the strength of an operation is b p. The authors step beta and alpha by
one Adam (6e-4, weight decay 1e-3), which is what happens here: beta learns with the alphas.
"""
# E edges, O operations, N nodes

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...network.seeding import seeded
from ...space import Space, Table
from ..parts import CONNECTORS, MixConnector

__all__ = ["EdgeNormalisation"]

BETA_SCALE = 1e-3  # standard deviation of the initial beta, the authors' code


@CONNECTORS.register("edge_normalisation")
class EdgeNormalisation(MixConnector):
    """A weight for each edge, normalised over those that enter one node; `beta` has one [E] a table."""

    traits = frozenset({"edge weights"})

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.ParameterDict()
        self.elsewhere = nn.Module()  # a buffer a table: true where an edge does not enter the node

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space whose rows enter no node."""
        for table in space.tables:
            if table.targets is None:
                raise SupernetError(
                    f"method.connectors=edge_normalisation weighs the edges of a node, and the rows of space "
                    f"{space.name!r} are no edges; it takes a space of cells"
                )

    def bind(self, net: Supernet, seed: int) -> None:
        """Draws beta, [E] a table."""
        like = net.alphas()[0]
        with seeded(seed):
            for table in net.space.tables:
                beta = BETA_SCALE * torch.randn(table.shape[0])
                self.beta[table.name] = nn.Parameter(beta.to(like))
                targets = torch.tensor(table.targets, device=like.device)
                enters = targets[None, :] == targets.unique()[:, None]
                self.elsewhere.register_buffer(table.name, ~enters, persistent=False)

    def forward(self, p_EO: Tensor, table: Table) -> Tensor:
        """p [E, O] with each row times the weight of its edge; the rows that enter one node sum to 1 together."""
        beta_NE = self.beta[table.name].masked_fill(self.elsewhere.get_buffer(table.name), float("-inf"))
        return torch.softmax(beta_NE, dim=1).sum(dim=0)[:, None] * p_EO
