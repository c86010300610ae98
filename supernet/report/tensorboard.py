"""What a search shows in TensorBoard: the architecture it has found so far, and the mixing weights behind it."""

from typing import Protocol

from matplotlib.figure import Figure

from ..network import Supernet
from ..space import Genotype
from .drawings import draw_space
from .table import draw_table
from .trees import draw_macro

__all__ = ["Board", "show_supernet"]


class Board(Protocol):
    """Takes figures, as a run's log does."""

    def figure(self, step: int, tag: str, figure: Figure) -> None: ...


def show_supernet(board: Board, step: int, net: Supernet, genotype: Genotype) -> None:
    """Draw `genotype`, each table of mixing weights with more than one row, and all single rows in one figure."""
    for name, figure in draw_space(net.space, genotype).items():
        board.figure(step, "genotype" if name == "macro" else f"cell/{name}", figure)
    strengths = net.strengths()
    single = [table for table in net.space.tables if len(table.rows) == 1 and table.name in net.space.groups]
    for table in (table for table in net.space.tables if table not in single):
        board.figure(step, f"alpha/{table.name}", draw_table(table.rows, table.columns, strengths[table.name]))
    if single:
        board.figure(step, "alpha", draw_macro(net.space, strengths=strengths))
