"""The NASNet space (Zoph et al.; arXiv:1707.07012), with AmoebaNet's cells (arXiv:1802.01548) as DARTS has them.

Five nodes a cell; each is the sum of two terms, and each term chooses any earlier state and an operation, so that a
state may be taken twice. The output joins the nodes that no other node reads.
"""

from collections.abc import Mapping
from typing import Any

from ..canonical import canonical_cell
from ..decision import OneOf, Value
from ..genotype import Genotype
from ..graph import CellGraph, Term
from ..space import Space
from .registry import SPACES

__all__ = ["OPERATIONS", "NasnetCells", "nasnet"]

OPERATIONS = (
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)
NODES, INPUTS = 5, 2
KINDS = ("normal", "reduce")


class NasnetCells(Space):
    """Per kind, node and side ("left", "right"): one of the earlier states and one of the operations."""

    def __init__(self) -> None:
        root = [
            decision
            for kind in KINDS
            for node in range(INPUTS, INPUTS + NODES)
            for side in ("left", "right")
            for decision in (
                OneOf(f"{kind}/node{node}/{side}/input", {str(j): () for j in range(node)}),
                OneOf(f"{kind}/node{node}/{side}/op", dict.fromkeys(OPERATIONS, ())),
            )
        ]
        super().__init__(root, name="nasnet", macro="darts")

    def graphs(self, genotype: Genotype) -> dict[str, CellGraph]:
        """The cell of each kind."""
        self.validate(genotype)
        return {kind: _graph(kind, genotype.decisions) for kind in KINDS}

    def canonical(self, genotype: Genotype) -> str:
        graphs = self.graphs(genotype)
        return str([(kind, canonical_cell(graphs[kind], strided=kind == "reduce")) for kind in KINDS])


def _graph(kind: str, decisions: Mapping[str, Value]) -> CellGraph:
    def term(node: int, side: str) -> Term:
        path = f"{kind}/node{node}/{side}"
        return Term(str(decisions[f"{path}/op"]), int(str(decisions[f"{path}/input"])))

    nodes = tuple((term(i, "left"), term(i, "right")) for i in range(INPUTS, INPUTS + NODES))
    read = {t.source for terms in nodes for t in terms}
    return CellGraph(INPUTS, nodes, tuple(i for i in range(INPUTS, INPUTS + NODES) if i not in read))


@SPACES.register("nasnet")
def nasnet() -> Any:
    """The space of NASNet's and AmoebaNet's cells."""
    return NasnetCells()
