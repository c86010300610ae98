"""Cells in which each node sums two terms of any earlier state (NASNet; Zoph et al.; arXiv:1707.07012).

The relaxed cell has an edge for each side of a node and each earlier state, and the strongest pair of a row and an
operation wins its side:

    node_i = sum over sides s, states j < i, operations o:  p[i, s, j, o] * o_{i,s,j}(state_j)

The output of a discrete cell joins the nodes that no other node reads. In the relaxed cell every node is read by a
later one, so it joins all nodes, and discrete ones do so where they inherit its weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..decision import Decision, OneOf, Value
from ..genotype import Genotype
from ..graph import CellGraph
from ..space import Strengths
from .base import CellSpace, Edge

__all__ = ["NasnetCells"]

SIDES = ("left", "right")


class NasnetCells(CellSpace):
    """Per kind, node and side ("left", "right"): one of the earlier states and one of the operations.

    Takes the arguments of `CellSpace` but `offered`, since a side chooses its state and its operation apart.
    """

    def _places(self) -> list[tuple[int, int, str]]:
        return [(j, i, side) for i in self.targets for side in SIDES for j in range(i)]

    def _sides(self, kind: str) -> list[tuple[str, list[Edge]]]:
        """(path, edges) of each side of each node, in row order."""
        return [
            (f"{kind}/node{i}/{side}", [edge for edge in self.incoming(i) if edge.side == side])
            for i in self.targets
            for side in SIDES
        ]

    def _decisions(self, kind: str) -> list[Decision]:
        decisions: list[Decision] = []
        for path, edges in self._sides(kind):
            decisions.append(OneOf(f"{path}/input", {str(edge.source): () for edge in edges}))
            decisions.append(OneOf(f"{path}/op", dict.fromkeys(self.operations, ())))
        return decisions

    def _chosen(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        return [
            (edge, str(decisions[f"{path}/op"]))
            for path, edges in self._sides(kind)
            for edge in edges
            if str(edge.source) == decisions[f"{path}/input"]
        ]

    def _graph(self, chosen: Sequence[tuple[Edge, str]]) -> CellGraph:
        graph = super()._graph(chosen)
        return replace(graph, concat=graph.loose)

    def project(self, strengths: Strengths) -> Genotype:
        """Per side of a node the strongest pair of a state and an operation; ties to the first."""
        self.check_strengths(strengths)
        point: dict[str, Value] = {}
        for kind in self.kinds:
            for path, edges in self._sides(kind):
                best = {edge.source: self._best(strengths, kind, edge) for edge in edges}
                source = max(best, key=lambda j: best[j][0])
                point |= {f"{path}/input": str(source), f"{path}/op": best[source][1]}
        return self.genotype(point)
