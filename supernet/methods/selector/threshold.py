"""Operations whose weight is above a threshold (FairDARTS; Chu et al., arXiv:1911.12126, section 4.3).

an edge takes its strongest operation;  a node keeps its strongest edges, those with p > `above` first

Where weights are independent a strong one says that the operation is worth keeping, and not only that it beats the
others. The authors keep at most two edges a node, and fewer where fewer are above .85; a node of this toolkit's cells
has a fixed number of inputs, so that what is missing is filled up with the strongest that are left. How many of the
edges were filled up is told after each epoch: with any, the cell is larger than the authors' would be.
"""

from ...errors import SupernetError
from ...space import Space
from ...space.cells.top_k import TopKCells
from ..look import Look
from ..parts import SELECTORS, Selector

__all__ = ["Threshold"]


@SELECTORS.register("threshold")
class Threshold(Selector):
    """`above` lies in [0, 1)."""

    traits = frozenset({"takes the largest"})

    def __init__(self, above: float = 0.85) -> None:
        super().__init__()
        if not 0 <= above < 1:
            raise SupernetError(f"selector threshold: above={above} must lie in [0, 1)")
        self.above = above

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space in which each row keeps exactly one option, whatever its weight."""
        if not isinstance(space, TopKCells):
            raise SupernetError(
                f"method.selector=threshold leaves edges out, and each decision of space {space.name!r} takes exactly "
                "one option; method.selector=projection takes the strongest"
            )

    def end_epoch(self, look: Look) -> dict[str, float]:
        """The number of edges of the genotype whose weight is not above the threshold."""
        strengths = look.net.strengths()
        places = look.net.space.active(self.present(look.net))
        return {
            "filled_up_edges": float(
                sum(strengths[name][row][o] <= self.above for name, pairs in places.items() for row, o in pairs)
            )
        }
