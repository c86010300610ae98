"""Weights for pairs of edges (DOTS; Gu et al., arXiv:2010.01969, section 3.2; authors' code).

q = softmax(beta / tau) over the pairs of edges that may enter a node,      w_e = sum of q over the pairs with edge e
p[e, o]  <-  w_e p[e, o],       tau = tau_0 (tau_1 / tau_0)^s over the last `part` of the epochs

A node keeps two edges, so it is pairs that compete, not edges. The weights of a node sum to 2, or to k where a space
keeps k edges; as tau falls one pair is left. Before that, and as long as the weights have been drawn anew less than
`stage` times, every edge has the weight 1 and beta rests. beta starts at 0 and learns with the alphas.
"""
# E edges, O operations, N nodes, P pairs

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...space import Space, Table
from ...space.cells import TopKCells
from ..edges import nodes
from ..part import Clock
from ..parts import CONNECTORS, MixConnector
from ..tail import tail

__all__ = ["EdgePairs", "pairs_of"]


@CONNECTORS.register("edge_pairs")
class EdgePairs(MixConnector):
    """`tau` and `tau_end` above 0, `part` in (0, 1] of the epochs since the weights were last drawn."""

    tau: Tensor
    active: Tensor
    traits = frozenset({"edge weights", "pairs of edges"})

    def __init__(self, tau: float = 10.0, tau_end: float = 0.02, part: float = 0.5, stage: int = 1) -> None:
        super().__init__()
        for name, value in (("tau", tau), ("tau_end", tau_end)):
            if value <= 0:
                raise SupernetError(f"edge_pairs: {name}={value} must be above 0")
        if not 0 < part <= 1:
            raise SupernetError(f"edge_pairs: part={part} must lie in (0, 1]")
        if stage < 0:
            raise SupernetError(f"edge_pairs: stage={stage} must be 0 or more")
        self.first, self.last, self.part, self.stage = float(tau), float(tau_end), part, stage
        self.beta = nn.ParameterDict()  # one [P] a table
        self.elsewhere = nn.Module()  # a buffer [N, P] a table: true where a pair does not enter the node
        self.members = nn.Module()  # a buffer [E, P] a table: 1 where the pair has the edge
        # In the state: what a finished run selects follows from them.
        self.register_buffer("tau", torch.tensor(self.first))
        self.register_buffer("active", torch.zeros((), dtype=torch.bool))

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space whose nodes do not choose among their edges."""
        if not isinstance(space, TopKCells):
            raise SupernetError(
                f"method.connectors=edge_pairs weighs pairs of the edges of a node, and space {space.name!r} does not "
                "have nodes that keep some of their edges; it takes a space such as darts"
            )

    def bind(self, net: Supernet, seed: int) -> None:
        like = net.alphas()[0]
        for table in net.space.tables:
            pairs = pairs_of(net.space, table)
            member_EP = torch.tensor([[float(row in pair) for pair in pairs] for row in range(table.shape[0])])
            ends = [[pair[0] in rows for pair in pairs] for rows in nodes(table).values()]
            self.beta[table.name] = nn.Parameter(torch.zeros(len(pairs)).to(like))
            self.members.register_buffer(table.name, member_EP.to(like), persistent=False)
            self.elsewhere.register_buffer(table.name, ~torch.tensor(ends, device=like.device), persistent=False)
        self.to(like.device)

    def prepare(self, clock: Clock) -> None:
        epochs = tail(clock.epochs, self.part)
        number = clock.epoch - (clock.epochs - epochs)
        self.active.fill_(clock.stage >= self.stage and number >= 0)
        self.tau.fill_(self.first * (self.last / self.first) ** (max(number, 0) / max(epochs - 1, 1)))

    def forward(self, p_EO: Tensor, table: Table) -> Tensor:
        """p [E, O] with each row times the weight of its edge."""
        weights_E = self.weights(table)
        return torch.where(self.active, weights_E, torch.ones_like(weights_E))[:, None] * p_EO

    def weights(self, table: Table) -> Tensor:
        """w [E] of a table at the present temperature."""
        beta_P, elsewhere_NP = self.beta[table.name], self.elsewhere.get_buffer(table.name)
        scaled_NP = (beta_P / self.tau.to(beta_P.dtype)).masked_fill(elsewhere_NP, float("-inf"))
        members_EP: Tensor = self.members.get_buffer(table.name)
        return members_EP.to(beta_P.dtype) @ torch.softmax(scaled_NP, dim=1).sum(dim=0)

    def strongest(self, space: Space, table: Table) -> set[int]:
        """The rows of the strongest pair of each node; of equals the first."""
        pairs, beta = pairs_of(space, table), self.beta[table.name].tolist()
        best = [
            max((number for number, pair in enumerate(pairs) if pair[0] in rows), key=lambda number: beta[number])
            for rows in nodes(table).values()
        ]
        return {row for number in best for row in pairs[number]}


def pairs_of(space: Space, table: Table) -> list[Sequence[int]]:
    """The rows of each pair, node by node; sets of k rows where a node keeps k, all where it has fewer."""
    assert isinstance(space, TopKCells)
    return [pair for rows in nodes(table).values() for pair in combinations(rows, min(space.k, len(rows)))]
