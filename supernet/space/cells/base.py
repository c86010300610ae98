"""What the families of cell spaces share: the edges, the relaxed tables, the graphs and their canonical form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ...errors import SupernetError, unknown
from ..decision import Decision, Value
from ..genotype import JSON, Genotype
from ..graph import CellGraph, Term
from ..space import Active, Space, Strengths, Table
from .canonical import canonical_cell

__all__ = ["CellArguments", "CellSpace", "Edge", "Offered"]

MOST_NODES = 12  # a hostile argument must not build a tree of millions
MOST_NAMES = 1000  # kinds or operations, likewise
Offered = Mapping[str, Mapping[str, Sequence[str]]]  # kind -> edge name -> operations


class CellArguments(TypedDict):
    """The keyword arguments of every family, as `CellSpace` explains them."""

    kinds: Sequence[str]
    inputs: int
    nodes: int
    operations: Sequence[str]
    macro: str
    reductions: NotRequired[Sequence[str]]
    offered: NotRequired[Offered | None]
    version: NotRequired[int]


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
    """The base of the families, which say how a cell is decided (`_decisions`, `_chosen`, `project`).

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
        args: Mapping[str, JSON],
        *,
        kinds: Sequence[str],
        inputs: int,
        nodes: int,
        operations: Sequence[str],
        macro: str,
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
        super().__init__(root, name=name, version=version, args=args, macro=macro)

    def _places(self) -> list[tuple[int, int, str]]:
        """(source, target, side) of each edge, in row order."""
        return [(j, i, "") for i in self.targets for j in range(i)]

    def _decisions(self, kind: str) -> list[Decision]:
        raise NotImplementedError

    def _chosen(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        """The edges that a point takes, with their operations, in row order."""
        raise NotImplementedError

    def _read_offered(self, name: str, offered: Offered) -> dict[tuple[str, int], tuple[str, ...]]:
        """(kind, row) -> operations in the order of the columns."""
        names, known = [edge.name for edge in self.edges], set(self.operations)  # a set: there may be thousands
        for kind, rows in offered.items():
            if kind not in self.kinds:
                raise SupernetError(f"space {name!r}: {unknown('kind in offered:', kind, self.kinds)}")
            for row, ops in rows.items():
                if row not in names:
                    raise SupernetError(f"space {name!r}: {unknown(f'edge of {kind!r} in offered:', row, names)}")
                _check_names(name, f"operations of edge {row} of {kind!r}", ops)
                if strange := [op for op in ops if op not in known]:
                    message = unknown(f"operation of edge {row} of {kind!r}:", strange[0], self.operations)
                    raise SupernetError(f"space {name!r}: {message}")
        by_row = {}
        for kind in self.kinds:
            for edge in self.edges:
                here = set(offered.get(kind, {}).get(edge.name, known))
                by_row[kind, edge.row] = tuple(op for op in self.operations if op in here)
        return by_row

    def offered(self, kind: str, edge: Edge) -> tuple[str, ...]:
        """The operations that may stand on `edge` of a cell of `kind`, in the order of the table's columns."""
        return self._offered[kind, edge.row]

    @property
    def concat(self) -> tuple[int, ...]:
        """The states whose channels make the output of a relaxed cell."""
        return tuple(self.targets)

    @property
    def tables(self) -> tuple[Table, ...]:
        rows, targets = tuple(edge.name for edge in self.edges), tuple(edge.target for edge in self.edges)
        return tuple(Table(kind, rows, self.operations, self._exists(kind), targets) for kind in self.kinds)

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
        return {kind: self._graph(self._chosen(kind, genotype.decisions)) for kind in self.kinds}

    def dead(self, genotype: Genotype) -> str:
        """Names the cells that have no path from an input to their output; "" where each has one."""
        kinds = [kind for kind, graph in self.graphs(genotype).items() if not graph.alive]
        return f"cell {' and '.join(map(repr, kinds))} has no path from its input to its output" if kinds else ""

    def _graph(self, chosen: Sequence[tuple[Edge, str]]) -> CellGraph:
        nodes = tuple(tuple(Term(op, edge.source) for edge, op in chosen if edge.target == i) for i in self.targets)
        return CellGraph(self.inputs, nodes, self.concat)

    def active(self, genotype: Genotype) -> Active:
        self.validate(genotype)
        return {
            kind: [(edge.row, self.operations.index(op)) for edge, op in self._chosen(kind, genotype.decisions)]
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


def _check_names(space: str, what: str, names: Sequence[str]) -> None:
    """Raises SupernetError unless `names` are different texts, at least one."""
    if len(names) > MOST_NAMES:
        raise SupernetError(f"space {space!r}: {len(names)} {what.partition(' ')[0]}; at most {MOST_NAMES} are read")
    texts = {name for name in names if isinstance(name, str)}
    if isinstance(names, str) or not names or len(texts) < len(names):
        shown = str(names if isinstance(names, str) else list(names))[:200]
        raise SupernetError(f"space {space!r}: {what} {shown} must be different names, at least one")
