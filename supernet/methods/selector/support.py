"""The options that have a weight are the cell (ISTA-NAS; Yang et al., arXiv:2010.06176, section 3.3).

project |p|        p is 0 outside the support, so that what is largest in size is what the network runs

For relaxations whose weights may be negative: the space's own projection would leave a large negative weight out.
"""

from typing import TYPE_CHECKING

from ...space import Genotype
from ..parts import SELECTORS, Selector

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["Support"]


@SELECTORS.register("support")
class Support(Selector):
    """No rounds: the genotype is that of the present support."""

    def present(self, net: "Supernet") -> Genotype:
        sizes = {name: [[abs(p) for p in row] for row in rows] for name, rows in net.strengths().items()}
        return net.space.project(net.options.ranked(sizes))
