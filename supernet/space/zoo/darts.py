"""The DARTS space (Liu, Simonyan, Yang; arXiv:1806.09055): a normal and a reduction cell of two inputs and four nodes.

Each node keeps 2 of its predecessors and one of 7 operations for each ("none" takes part in the search only), so there
are (1 * 3 * 6 * 10 * 7^8)^2 = (180 * 7^8)^2 = 1.0767e18 points.
"""

from collections.abc import Sequence

from ..cells import TopKCells
from ..registry import SPACES

__all__ = ["OPERATIONS", "darts"]

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


@SPACES.register("darts")
def darts(nodes: int = 4, operations: Sequence[str] = OPERATIONS) -> TopKCells:
    """The space with `nodes` intermediate nodes a cell and the candidate `operations`, in the order of the table."""
    return TopKCells(
        "darts",
        {"nodes": nodes, "operations": list(operations)},
        kinds=("normal", "reduce"),
        reductions=("reduce",),
        inputs=2,
        nodes=nodes,
        operations=tuple(operations),
        macro="darts",
    )
