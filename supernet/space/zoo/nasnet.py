"""The NASNet space (Zoph et al.; arXiv:1707.07012), with AmoebaNet's cells (arXiv:1802.01548) as DARTS has them.

Five nodes a cell; each is the sum of two terms, and each term chooses any earlier state and an operation, so that a
state may be taken twice: (9^10 * (2 * 3 * 4 * 5 * 6)^2)^2 = 3.27e30 points. The output joins the nodes that no other
node reads.

The relaxed cell has an edge for each side of a node and each earlier state, 2 * (2 + 3 + 4 + 5 + 6) = 40 rows, and the
strongest pair of a row and an operation wins its side:

    node_i = sum over sides s, states j < i, operations o:  p[i, s, j, o] * o_{i,s,j}(state_j)

There every node is read by a later one, so relaxed cells join all nodes, and discrete ones where they inherit weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..cells import CellSpace, Edge
from ..decision import Decision, OneOf, Value
from ..genotype import Genotype
from ..graph import CellGraph
from ..space import Strengths
from .registry import SPACES

__all__ = ["OPERATIONS", "NasnetCells", "nasnet"]

OPERATIONS = (
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)
SIDES = ("left", "right")


class NasnetCells(CellSpace):
    """Per kind, node and side ("left", "right"): one of the earlier states and one of the operations.

    Takes the arguments of `CellSpace` but `offered`, since a side chooses its state and its operation apart.
    """

    def __init__(self, name: str, args: Mapping[str, Any], **shared: Any) -> None:
        super().__init__(name, args, projection="argmax", **shared)

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
        found: list[Decision] = []
        for path, edges in self._sides(kind):
            found.append(OneOf(f"{path}/input", {str(edge.source): () for edge in edges}))
            found.append(OneOf(f"{path}/op", dict.fromkeys(self.operations, ())))
        return found

    def _taken(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        return [
            (edge, str(decisions[f"{path}/op"]))
            for path, edges in self._sides(kind)
            for edge in edges
            if str(edge.source) == decisions[f"{path}/input"]
        ]

    def _graph(self, taken: Sequence[tuple[Edge, str]]) -> CellGraph:
        graph = super()._graph(taken)
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


@SPACES.register("nasnet")
def nasnet() -> NasnetCells:
    """The space of NASNet's and AmoebaNet's cells."""
    return NasnetCells(
        "nasnet",
        {},
        kinds=("normal", "reduce"),
        reductions=("reduce",),
        inputs=2,
        nodes=5,
        operations=OPERATIONS,
        macro="darts",
    )
