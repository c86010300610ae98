"""The strongest pair of edges of each node, each with its strongest operation (DOTS; arXiv:2010.01969, section 3.2).

pair* = argmax beta over the pairs of a node;     o* = argmax p[e, o] on both of its edges

The two edges that have the largest weights alone need not be the strongest pair. As long as the pairs have not begun to
learn, the space's own projection stands.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import SupernetError
from ...space import Genotype
from ..connector.edge_pairs import EdgePairs
from ..part import Part
from ..parts import SELECTORS, Selector

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["SelectPairs"]

AHEAD = 10.0  # above every mixing weight


@SELECTORS.register("edge_pairs")
class SelectPairs(Selector):
    """Reads beta of the connector `edge_pairs`, without which it is refused."""

    def meet(self, parts: Sequence[Part]) -> None:
        """Raises SupernetError where there is no such connector."""
        self._connectors = [part for part in parts if isinstance(part, EdgePairs)]
        if not self._connectors:
            raise SupernetError("method.selector=edge_pairs chooses pairs, and needs method.connectors=[edge_pairs]")

    def present(self, net: "Supernet") -> Genotype:
        (connector,) = self._connectors
        strengths = dict(net.options.ranked(net.strengths()))
        for table in net.space.tables if bool(connector.active) else ():
            taken = connector.strongest(net.space, table)
            rows = enumerate(strengths[table.name])
            strengths[table.name] = [[value + AHEAD * (row in taken) for value in values] for row, values in rows]
        return net.space.project(strengths)
