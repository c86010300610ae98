"""Cells in which every edge has one operation (NAS-Bench-201; Dong, Yang; arXiv:2001.00326)."""

from collections.abc import Mapping

from ..decision import Decision, OneOf, Value
from ..genotype import Genotype
from ..space import Strengths
from .base import CellSpace, Edge

__all__ = ["EdgeCells"]


class EdgeCells(CellSpace):
    """Each edge has one operation, `none` allowed; the last node is the output."""

    @property
    def concat(self) -> tuple[int, ...]:
        return (self.inputs + self.nodes - 1,)

    def _decisions(self, kind: str) -> list[Decision]:
        return [OneOf(f"{kind}/{edge.name}", dict.fromkeys(self.offered(kind, edge), ())) for edge in self.edges]

    def _chosen(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        return [(edge, str(decisions[f"{kind}/{edge.name}"])) for edge in self.edges]

    def project(self, strengths: Strengths) -> Genotype:
        """The strongest operation of each edge; ties to the first."""
        self.check_strengths(strengths)
        return self.genotype(
            {f"{kind}/{edge.name}": self._best(strengths, kind, edge)[1] for kind in self.kinds for edge in self.edges}
        )
