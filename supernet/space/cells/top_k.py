"""Cells in which each node keeps k different incoming edges (DARTS; Liu, Simonyan, Yang; arXiv:1806.09055)."""

from collections.abc import Mapping
from typing import Unpack

from ...errors import SupernetError
from ..decision import Decision, KOf, OneOf, Value
from ..genotype import JSON, Genotype
from ..space import Strengths, Table
from .base import CellArguments, CellSpace, Edge

__all__ = ["TopKCells"]


class TopKCells(CellSpace):
    """Each node keeps `k` different incoming edges, each with one operation other than `none`."""

    def __init__(self, name: str, args: Mapping[str, JSON], *, k: int = 2, **shared: Unpack[CellArguments]) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise SupernetError(f"space {name!r}: k={str(k)[:20]} must be a whole number, 1 or more")
        self.k = k
        super().__init__(name, args, **shared)

    def _decisions(self, kind: str) -> list[Decision]:
        decisions: list[Decision] = []
        for target in self.targets:
            items: dict[str, tuple[Decision, ...]] = {}
            for edge in self.incoming(target):
                operations = [op for op in self.offered(kind, edge) if op != "none"]
                if not operations:
                    raise SupernetError(f"edge {edge.name} of {kind!r}: operations need at least one besides 'none'")
                items[str(edge.source)] = (OneOf("op", dict.fromkeys(operations, ())),)
            decisions.append(KOf(f"{kind}/node{target}/inputs", items, min(self.k, len(items))))
        return decisions

    def _chosen(self, kind: str, decisions: Mapping[str, Value]) -> list[tuple[Edge, str]]:
        chosen = []
        for edge in self.edges:
            path = f"{kind}/node{edge.target}/inputs/{edge.source}/op"
            if path in decisions:
                chosen.append((edge, str(decisions[path])))
        return chosen

    def competing(self, table: Table, row: int) -> tuple[int, ...]:
        """The columns without `none`, which a node never takes."""
        return tuple(column for column in super().competing(table, row) if table.columns[column] != "none")

    def input_margins(self, strengths: Strengths) -> list[tuple[str, str, str, str, float, float]]:
        """Of each node that chooses: its weakest edge that is taken and its strongest that is not."""
        margins = []
        for kind in self.kinds:
            for target in self.targets:
                edges = {
                    edge.source: self._best(strengths, kind, edge, without="none")[0] for edge in self.incoming(target)
                }
                order = sorted(sorted(edges), key=lambda source: -edges[source])
                if len(order) > self.k:
                    taken, left = order[self.k - 1], order[self.k]
                    what = f"inputs of node {target}"
                    margins.append((kind, what, f"state {taken}", f"state {left}", edges[taken], edges[left]))
        return margins

    def project(self, strengths: Strengths) -> Genotype:
        """Per node the k edges with the strongest operation but `none` (DARTS, section 2.4); ties to the first."""
        self.check_strengths(strengths)
        point: dict[str, Value] = {}
        for kind in self.kinds:
            for target in self.targets:
                best = {e.source: self._best(strengths, kind, e, without="none") for e in self.incoming(target)}
                sources = sorted(sorted(best, key=lambda j: -best[j][0])[: self.k])
                path = f"{kind}/node{target}/inputs"
                point[path] = tuple(map(str, sources))
                point |= {f"{path}/{j}/op": best[j][1] for j in sources}
        return self.genotype(point)
