"""Cell spaces: small directed graphs that repeat through a network.

A cell has `inputs` input states and `nodes` intermediate nodes. An edge j -> i leads from an earlier state j to node i;
states are numbered inputs first. Two families share this file's graph:

    k_of edges   (DARTS, arXiv:1806.09055)          each node keeps k different incoming edges, each with one operation
    every edge   (NAS-Bench-201, arXiv:2001.00326)  each edge has one operation, "none" among them

The relaxed view is one table a cell kind: rows are edges in the order 0-2, 1-2, 0-3, ..., columns are operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SupernetError
from .canonical import canonical_cell
from .decision import Decision, KOf, OneOf, Value
from .genotype import Genotype
from .graph import CellGraph, Term
from .space import Active, Space, Strengths, Table

__all__ = ["CellSpace", "EdgeCells", "TopKCells"]

MOST_NODES = 12  # a hostile argument must not build a tree of millions


@dataclass(frozen=True)
class Edge:
    """Row `row` of the relaxed table: state `source` to node `target`."""

    row: int
    source: int
    target: int

    @property
    def name(self) -> str:
        return f"{self.source}-{self.target}"


class CellSpace(Space):
    """What both families share: the edges, the relaxed tables, the graphs and their canonical form.

    `reductions` names the kinds whose input edges have stride 2, where even `skip_connect` has weights.
    """

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        *,
        kinds: Sequence[str],
        inputs: int,
        nodes: int,
        operations: Sequence[str],
        macro: str,
        projection: str,
        reductions: Sequence[str] = (),
        version: int = 1,
    ) -> None:
        if not 1 <= nodes <= MOST_NODES:
            raise SupernetError(f"space {name!r}: nodes={str(nodes)[:20]} must lie in 1..{MOST_NODES}")
        names = {op for op in operations if isinstance(op, str)}
        if not operations or len(names) < len(operations):
            shown = str(list(operations))[:200]
            raise SupernetError(f"space {name!r}: operations {shown} must be different names, at least one")
        self.kinds, self.inputs, self.nodes = tuple(kinds), inputs, nodes
        self.operations, self.reductions = tuple(operations), tuple(reductions)
        pairs = [(j, i) for i in range(inputs, inputs + nodes) for j in range(i)]
        self.edges = tuple(Edge(row, j, i) for row, (j, i) in enumerate(pairs))
        root = [decision for kind in kinds for decision in self._decisions(kind)]
        super().__init__(root, name=name, version=version, args=args, macro=macro, projection=projection)

    def _decisions(self, kind: str) -> list[Decision]:
        raise NotImplementedError

    def _terms(self, kind: str, target: int, decisions: Mapping[str, Value]) -> list[Term]:
        """The incoming terms of node `target`."""
        raise NotImplementedError

    @property
    def concat(self) -> tuple[int, ...]:
        """The states whose channels make the cell's output."""
        return tuple(range(self.inputs, self.inputs + self.nodes))

    @property
    def tables(self) -> tuple[Table, ...]:
        rows = tuple(edge.name for edge in self.edges)
        return tuple(Table(kind, rows, self.operations) for kind in self.kinds)

    def incoming(self, target: int) -> tuple[Edge, ...]:
        """The edges that enter node `target`, in row order."""
        return tuple(edge for edge in self.edges if edge.target == target)

    def graphs(self, genotype: Genotype) -> dict[str, CellGraph]:
        """The cell of each kind."""
        self.validate(genotype)
        targets = range(self.inputs, self.inputs + self.nodes)
        return {
            kind: CellGraph(
                self.inputs, tuple(tuple(self._terms(kind, i, genotype.decisions)) for i in targets), self.concat
            )
            for kind in self.kinds
        }

    def active(self, genotype: Genotype) -> Active:
        row = {(edge.source, edge.target): edge.row for edge in self.edges}
        return {
            kind: [
                (row[term.source, self.inputs + node], self.operations.index(term.op))
                for node, terms in enumerate(graph.nodes)
                for term in terms
            ]
            for kind, graph in self.graphs(genotype).items()
        }

    def canonical(self, genotype: Genotype) -> str:
        graphs = self.graphs(genotype)
        return str([(kind, canonical_cell(graphs[kind], strided=kind in self.reductions)) for kind in self.kinds])


class TopKCells(CellSpace):
    """Each node keeps `k` different incoming edges, each with one operation other than `none`."""

    def __init__(self, name: str, args: Mapping[str, Any], *, k: int = 2, **shared: Any) -> None:
        self.k = k
        self.kept = tuple(op for op in shared["operations"] if op != "none")
        if not self.kept:
            raise SupernetError(f"space {name!r}: operations need at least one besides 'none'")
        super().__init__(name, args, projection="top2" if k == 2 else f"top{k}", **shared)

    def _decisions(self, kind: str) -> list[Decision]:
        op: tuple[Decision, ...] = (OneOf("op", dict.fromkeys(self.kept, ())),)
        return [
            KOf(f"{kind}/node{i}/inputs", {str(j): op for j in range(i)}, min(self.k, i))
            for i in range(self.inputs, self.inputs + self.nodes)
        ]

    def _terms(self, kind: str, target: int, decisions: Mapping[str, Value]) -> list[Term]:
        path = f"{kind}/node{target}/inputs"
        taken = decisions[path]
        return [Term(str(decisions[f"{path}/{j}/op"]), int(j)) for j in taken] if isinstance(taken, tuple) else []

    def project(self, strengths: Strengths) -> Genotype:
        """Per node the k edges with the strongest operation but `none` (DARTS, section 2.4); ties to the first."""
        self.check_strengths(strengths)
        columns = [self.operations.index(op) for op in self.kept]
        point: dict[str, Value] = {}
        for kind in self.kinds:
            for target in range(self.inputs, self.inputs + self.nodes):
                best = {}  # source -> (strength, operation) of its strongest operation
                for edge in self.incoming(target):
                    row = strengths[kind][edge.row]
                    column = max(columns, key=lambda c: row[c])
                    best[edge.source] = (row[column], self.operations[column])
                taken = sorted(sorted(best, key=lambda j: -best[j][0])[: self.k])
                path = f"{kind}/node{target}/inputs"
                point[path] = tuple(map(str, taken))
                point |= {f"{path}/{j}/op": best[j][1] for j in taken}
        return self.genotype(point)


class EdgeCells(CellSpace):
    """Each edge has one operation, `none` allowed; the last node is the output."""

    def __init__(self, name: str, args: Mapping[str, Any], **shared: Any) -> None:
        super().__init__(name, args, projection="argmax", **shared)

    @property
    def concat(self) -> tuple[int, ...]:
        return (self.inputs + self.nodes - 1,)

    def _decisions(self, kind: str) -> list[Decision]:
        return [OneOf(f"{kind}/{edge.name}", dict.fromkeys(self.operations, ())) for edge in self.edges]

    def _terms(self, kind: str, target: int, decisions: Mapping[str, Value]) -> list[Term]:
        return [Term(str(decisions[f"{kind}/{edge.name}"]), edge.source) for edge in self.incoming(target)]

    def project(self, strengths: Strengths) -> Genotype:
        """The strongest operation of each edge; ties to the first."""
        self.check_strengths(strengths)
        point: dict[str, Value] = {}
        for kind in self.kinds:
            for edge in self.edges:
                row = strengths[kind][edge.row]
                point[f"{kind}/{edge.name}"] = self.operations[max(range(len(row)), key=lambda c: row[c])]
        return self.genotype(point)
