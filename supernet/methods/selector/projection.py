"""The space's own projection of the strengths (DARTS, arXiv:1806.09055, section 2.4, for its cells).

The strongest operation of each edge and the two strongest edges of each node in DARTS; other spaces say it themselves.
"""

from ..parts import SELECTORS, Selector

__all__ = ["Projection"]


@SELECTORS.register("projection")
class Projection(Selector):
    """No rounds: the genotype is that of the present strengths."""

    traits = frozenset({"takes the largest"})
