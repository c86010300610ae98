"""One drawing for every search space: its cells where it has some, else its decision tree along the network."""

from matplotlib.figure import Figure

from ..space import SPACES, CellSpace, Genotype, Space, space_of
from ..space.space import Strengths
from .cells import draw_cell, draw_relaxed
from .files import picture
from .trees import draw_macro

__all__ = ["card_pictures", "draw_space"]


def draw_space(space: Space, genotype: Genotype | None = None, strengths: Strengths | None = None) -> dict[str, Figure]:
    """Figures by name: one for each kind of cell, or one called "macro" for a space without cells.

    With a `genotype` what it decides is drawn; with `strengths` alone, {table name: [E][O] in 0..1}, the relaxed
    network; with neither all that there is to decide. Raises GenotypeError or SupernetError where they do not fit.
    """
    if isinstance(space, CellSpace):
        if genotype is not None:
            cells = space.graphs(genotype)
            return {kind: draw_cell(cell, kind, inputs=cell.inputs) for kind, cell in cells.items()}
        if strengths is not None:
            space.check_strengths(strengths)
        return {kind: draw_relaxed(space, kind, strengths[kind] if strengths else None) for kind in space.kinds}
    return {"macro": draw_macro(space, genotype, strengths)}


def card_pictures(genotype: Genotype) -> dict[str, bytes]:
    """PNG files by name for the card of an exported network; none for the space of a class of its author's own."""
    if genotype.space not in SPACES:
        return {}
    figures = draw_space(space_of(genotype), genotype)
    names = {kind: "decisions.png" if kind == "macro" else f"cell-{kind}.png" for kind in figures}
    return {names[kind]: picture(figure, "png") for kind, figure in figures.items()}
