"""What a search shows in TensorBoard: the drawn cells and the mixing weights behind them."""

from typing import Protocol

from matplotlib.figure import Figure

from ..network import Supernet
from ..space import CellSpace, Genotype
from .draw import draw_cell, draw_table

__all__ = ["Board", "show_supernet"]


class Board(Protocol):
    """Takes figures, as a run's log does."""

    def figure(self, step: int, tag: str, figure: Figure) -> None: ...


def show_supernet(board: Board, step: int, net: Supernet, genotype: Genotype) -> None:
    """Draw each cell of `genotype` (cell spaces only) and each table of mixing weights."""
    if isinstance(net.space, CellSpace):
        for kind, graph in net.space.graphs(genotype).items():
            board.figure(step, f"cell/{kind}", draw_cell(graph, kind, inputs=graph.inputs))
    strengths = net.strengths()
    for table in net.space.tables:
        board.figure(step, f"alpha/{table.name}", draw_table(table.rows, table.columns, strengths[table.name]))
