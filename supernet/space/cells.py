"""Cell spaces: small directed graphs that repeat through a network.

A cell has `inputs` input states and `nodes` intermediate nodes. An edge j -> i leads from an earlier state j to node i;
states are numbered inputs first. Three families share this file's graph:

    k_of edges   (DARTS, arXiv:1806.09055)          each node keeps k different incoming edges, each with one operation
    every edge   (NAS-Bench-201, arXiv:2001.00326)  each edge has one operation, "none" among them
    two terms    (NASNet, arXiv:1707.07012)         each node sums two terms of any state; in `zoo/nasnet.py`

The relaxed view is one table a cell kind: rows are edges in the order 0-2, 1-2, 0-3, ..., columns are operations.
All three are made from plain data, here a cell of two nodes, one edge of which offers less than the others:

    TopKCells("mine", {}, kinds=["normal", "reduce"], reductions=["reduce"], inputs=2, nodes=2, k=2, macro="darts",
              operations=["none", "skip_connect", "sep_conv_3x3"], offered={"normal": {"0-2": ["skip_connect"]}})
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SupernetError, unknown
from .canonical import canonical_cell
from .decision import Decision, KOf, OneOf, Value
from .genotype import Genotype
from .graph import CellGraph, Term
from .space import Active, Space, Strengths, Table

__all__ = ["CellSpace", "Edge", "EdgeCells", "TopKCells"]

MOST_NODES = 12  # a hostile argument must not build a tree of millions
MOST_NAMES = 1000  # kinds or operations, likewise
Offered = Mapping[str, Mapping[str, Sequence[str]]]  # kind -> edge name -> operations


@dataclass(frozen=True)
class Edge:
    """Row `row` of the relaxed table: state `source` to node `target`, as the term `side` where a node names them."""

    row: int
    source: int
    target: int
    side: str = ""

    @property
    def name(self) -> str:
        return f"{self.source}-{self.target}" + (f"/{self.side}" if self.side else "")


class CellSpace(Space):
    """What the families share: the edges, the relaxed tables, the graphs and their canonical form.

    name, args   of the space, as genotypes repeat them; `args` rebuild it through the registry
    kinds        names of the cells: ("normal", "reduce") for the macro structure "darts", ("cell",) for "nasbench201"
    reductions   the kinds whose input edges have stride 2, where even `skip_connect` has weights
    inputs       input states of a cell: 2 for "darts", 1 for "nasbench201"
    nodes        intermediate nodes of a cell, 1 to 12
    operations   names of candidate operations, the columns of the tables
    offered      {kind: {edge: operations}} for edges, named "0-2", that offer only some of them; None: all offer all
    macro        the macro structure that networks are built as

    Raises SupernetError for what makes no space.
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
        offered: Offered | None = None,
        version: int = 1,
    ) -> None:
        for key, count in (("nodes", nodes), ("inputs", inputs)):
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_NODES:
                raise SupernetError(f"space {name!r}: {key}={str(count)[:20]} must lie in 1..{MOST_NODES}")
        _check_names(name, "operations", operations)
        _check_names(name, "kinds", kinds)
        if strange := [kind for kind in reductions if kind not in kinds]:
            raise SupernetError(f"space {name!r}: {unknown('kind in reductions:', strange[0], kinds)}")
        self.kinds, self.inputs, self.nodes = tuple(kinds), inputs, nodes
        self.operations, self.reductions = tuple(operations), tuple(reductions)
        self.targets = range(inputs, inputs + nodes)
        self.edges = tuple(Edge(row, *place) for row, place in enumerate(self._places()))
        self._offered = self._read_offered(name, offered or {})
        root = [decision for kind in kinds for decision in self._decisions(kind)]
        super().__init__(root, name=name, version=version, args=args, macro=macro, projection=projection)

    def _places(self) -> list[tuple[int, int, str]]:
        """(source, target, side) of each edge, in row order."""
        return [(j, i, "") for i in self.targets for j in range(i)]

    def _decisions(self, kind: str) -> list[Decision]:
        raise NotImplementedError

    def _taken(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        """The edges that a point takes with their operations, in row order."""
        raise NotImplementedError

    def _read_offered(self, name: str, given: Offered) -> dict[tuple[str, int], tuple[str, ...]]:
        """(kind, row) -> operations in the order of the columns."""
        names, known = [edge.name for edge in self.edges], set(self.operations)  # a set: there may be thousands
        for kind, rows in given.items():
            if kind not in self.kinds:
                raise SupernetError(f"space {name!r}: {unknown('kind in offered:', kind, self.kinds)}")
            for row, ops in rows.items():
                if row not in names:
                    raise SupernetError(f"space {name!r}: {unknown(f'edge of {kind!r} in offered:', row, names)}")
                _check_names(name, f"operations of edge {row} of {kind!r}", ops)
                if strange := [op for op in ops if op not in known]:
                    told = unknown(f"operation of edge {row} of {kind!r}:", strange[0], self.operations)
                    raise SupernetError(f"space {name!r}: {told}")
        found = {}
        for kind in self.kinds:
            for edge in self.edges:
                here = set(given.get(kind, {}).get(edge.name, known))
                found[kind, edge.row] = tuple(op for op in self.operations if op in here)
        return found

    def offered(self, kind: str, edge: Edge) -> tuple[str, ...]:
        """The operations that may stand on `edge` of a cell of `kind`, in the order of the table's columns."""
        return self._offered[kind, edge.row]

    @property
    def concat(self) -> tuple[int, ...]:
        """The states whose channels make the output of a relaxed cell."""
        return tuple(self.targets)

    @property
    def tables(self) -> tuple[Table, ...]:
        rows = tuple(edge.name for edge in self.edges)
        return tuple(Table(kind, rows, self.operations, self._exists(kind)) for kind in self.kinds)

    def _exists(self, kind: str) -> tuple[tuple[bool, ...], ...] | None:
        rows = [self.offered(kind, edge) for edge in self.edges]
        if all(row == self.operations for row in rows):
            return None
        return tuple(tuple(op in row for op in self.operations) for row in rows)

    def incoming(self, target: int) -> tuple[Edge, ...]:
        """The edges that enter node `target`, in row order."""
        return tuple(edge for edge in self.edges if edge.target == target)

    def graphs(self, genotype: Genotype) -> dict[str, CellGraph]:
        """The cell of each kind."""
        self.validate(genotype)
        return {kind: self._graph(self._taken(kind, genotype.decisions)) for kind in self.kinds}

    def _graph(self, taken: Sequence[tuple[Edge, str]]) -> CellGraph:
        nodes = tuple(tuple(Term(op, edge.source) for edge, op in taken if edge.target == i) for i in self.targets)
        return CellGraph(self.inputs, nodes, self.concat)

    def active(self, genotype: Genotype) -> Active:
        self.validate(genotype)
        return {
            kind: [(edge.row, self.operations.index(op)) for edge, op in self._taken(kind, genotype.decisions)]
            for kind in self.kinds
        }

    def canonical(self, genotype: Genotype) -> str:
        graphs = self.graphs(genotype)
        return str([(kind, canonical_cell(graphs[kind], strided=kind in self.reductions)) for kind in self.kinds])

    def _best(self, strengths: Strengths, kind: str, edge: Edge, without: str = "") -> tuple[float, str]:
        """(strength, operation) of the strongest operation on `edge`, leaving out `without`; ties to the first."""
        row = strengths[kind][edge.row]
        columns = [c for c, op in enumerate(self.operations) if op in self.offered(kind, edge) and op != without]
        column = max(columns, key=lambda c: row[c])
        return row[column], self.operations[column]


class TopKCells(CellSpace):
    """Each node keeps `k` different incoming edges, each with one operation other than `none`."""

    def __init__(self, name: str, args: Mapping[str, Any], *, k: int = 2, **shared: Any) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise SupernetError(f"space {name!r}: k={str(k)[:20]} must be a whole number, 1 or more")
        self.k = k
        super().__init__(name, args, projection="top2" if k == 2 else f"top{k}", **shared)

    def _decisions(self, kind: str) -> list[Decision]:
        found: list[Decision] = []
        for target in self.targets:
            items: dict[str, tuple[Decision, ...]] = {}
            for edge in self.incoming(target):
                kept = [op for op in self.offered(kind, edge) if op != "none"]
                if not kept:
                    raise SupernetError(f"edge {edge.name} of {kind!r}: operations need at least one besides 'none'")
                items[str(edge.source)] = (OneOf("op", dict.fromkeys(kept, ())),)
            found.append(KOf(f"{kind}/node{target}/inputs", items, min(self.k, len(items))))
        return found

    def _taken(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        found = []
        for edge in self.edges:
            path = f"{kind}/node{edge.target}/inputs/{edge.source}/op"
            if path in decisions:
                found.append((edge, str(decisions[path])))
        return found

    def project(self, strengths: Strengths) -> Genotype:
        """Per node the k edges with the strongest operation but `none` (DARTS, section 2.4); ties to the first."""
        self.check_strengths(strengths)
        point: dict[str, Value] = {}
        for kind in self.kinds:
            for target in self.targets:
                best = {e.source: self._best(strengths, kind, e, without="none") for e in self.incoming(target)}
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
        return [OneOf(f"{kind}/{edge.name}", dict.fromkeys(self.offered(kind, edge), ())) for edge in self.edges]

    def _taken(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        return [(edge, str(decisions[f"{kind}/{edge.name}"])) for edge in self.edges]

    def project(self, strengths: Strengths) -> Genotype:
        """The strongest operation of each edge; ties to the first."""
        self.check_strengths(strengths)
        return self.genotype(
            {f"{kind}/{edge.name}": self._best(strengths, kind, edge)[1] for kind in self.kinds for edge in self.edges}
        )


def _check_names(space: str, what: str, names: Sequence[str]) -> None:
    """Raises SupernetError unless `names` are different texts, at least one."""
    if len(names) > MOST_NAMES:
        raise SupernetError(f"space {space!r}: {len(names)} {what.partition(' ')[0]}; at most {MOST_NAMES} are read")
    texts = {name for name in names if isinstance(name, str)}
    if isinstance(names, str) or not names or len(texts) < len(names):
        shown = str(names if isinstance(names, str) else list(names))[:200]
        raise SupernetError(f"space {space!r}: {what} {shown} must be different names, at least one")
