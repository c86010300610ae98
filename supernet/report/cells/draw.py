"""Drawings of cells: a decided cell with the operations it keeps, a relaxed one with all of its edges and their p."""

# E edges, O operations

from collections.abc import Sequence
from typing import Protocol

from matplotlib.figure import Figure

from ...errors import SupernetError
from ...space import CellSpace, Table
from ..files import save
from ..shapes import MUTED, darkest, family, shades
from ..table import draw_table
from .graph import Wire, draw_graph

__all__ = ["draw_cell", "draw_relaxed", "draw_table", "save"]


class Term(Protocol):
    @property
    def op(self) -> str: ...
    @property
    def source(self) -> int: ...


class Graph(Protocol):
    @property
    def nodes(self) -> Sequence[Sequence[Term]]: ...
    @property
    def concat(self) -> Sequence[int]: ...


def draw_cell(graph: Graph, name: str, *, inputs: int = 2, strength: Sequence[Sequence[float]] | None = None) -> Figure:
    """The cell from left to right: its inputs, its nodes, each term an arrow with its operation, the output.

    `graph.nodes[i]` are the terms (`op`, `source`) of node `inputs + i`, `graph.concat` the nodes of the output.
    `strength`, nested like `graph.nodes`, in 0..1, sets the width of the arrows. Arrows have the gid `term-<i>` in the
    order of the terms, those into the output `concat-<i>`. Raises SupernetError where a term names no earlier node.
    """
    terms = [(inputs + i, term) for i, node in enumerate(graph.nodes) for term in node]
    weights = [1.0] * len(terms) if strength is None else [float(w) for node in strength for w in node]
    if len(weights) != len(terms):
        raise SupernetError(f"{len(weights)} strengths were given for {len(terms)} terms")
    wires = [
        Wire(term.source, node, term.op, family(term.op), f"term-{i}", weight, dashed=term.op == "none")
        for i, ((node, term), weight) in enumerate(zip(terms, weights, strict=True))
    ]
    return draw_graph(name, inputs, len(graph.nodes), wires, graph.concat)


def draw_relaxed(space: CellSpace, kind: str, p_EO: Sequence[Sequence[float]] | None = None) -> Figure:
    """The cell `kind` before anything is decided: every edge; without `p_EO` just that, and the operations below.

    An edge is as wide and as strong in colour as its largest p, names that operation, and shows all of them as a strip
    with the colours of the legend. Its gid is `edge-<row>`, that of operation o in its strip `edge-<row>-<o>`.
    """
    table = next(table for table in space.tables if table.name == kind)
    colours = shades(table.columns)
    wires = []
    for edge in space.edges:
        gid = f"edge-{edge.row}"
        if p_EO is None:
            wires.append(Wire(edge.source, edge.target, _offer(table, edge.row), MUTED, gid, 0.4))
            continue
        row = [max(0.0, float(p)) for p in p_EO[edge.row]]
        best = max(range(len(row)), key=lambda o: row[o])
        op, most = table.columns[best], min(1.0, row[best])
        wires.append(
            Wire(
                edge.source,
                edge.target,
                f"{op} {most:.2f}",
                colours[best],
                gid,
                1.6 * most,
                0.3 + 0.7 * most,
                dashed=op == "none",
                ink=darkest(op, colours[best]),
                bar=tuple(zip(row, colours, strict=True)),
            )
        )
    offered = [any(row[o] for row in table.mask) for o in range(len(colours))]
    legend = [(op, c) for op, c, here in zip(table.columns, colours, offered, strict=True) if here]
    return draw_graph(kind, space.inputs, space.nodes, wires, space.concat, legend)


def _offer(table: Table, row: int) -> str:
    """What an edge offers, where that is less than the others do."""
    offered = [op for op, here in zip(table.columns, table.mask[row], strict=True) if here]
    if len(offered) == len(table.columns):
        return ""
    return " | ".join(offered) if len(offered) < 3 else f"{len(offered)} of {len(table.columns)}"
