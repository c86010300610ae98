"""The spaces S1 to S4 of RobustDARTS (Zela et al.; arXiv:1909.09656, section 3): DARTS' cell with fewer operations.

    S1  two operations an edge, those that weighed most in a search of DARTS, so edges and kinds differ
    S2  skip_connect and sep_conv_3x3
    S3  none, skip_connect and sep_conv_3x3
    S4  noise and sep_conv_3x3; noise is a standard normal tensor, whatever its input

Each node keeps 2 of its predecessors and one of 2 operations for each ("none" takes part in the search only), so all
four have (1 * 3 * 6 * 10 * 2^8)^2 = 2,123,366,400 points. S5, of DARTS-PT (arXiv:2108.04392), is the space `darts`.
"""

from collections.abc import Mapping, Sequence

from ..cells import TopKCells
from ..registry import SPACES

__all__ = ["S1", "s1", "s2", "s3", "s4"]

# Of each edge in the order 0-2, 1-2, 0-3, 1-3, 2-3, 0-4, ..., 4-5.
_S1 = {
    "normal": "skip dil3, skip dil5, skip dil5, skip sep3, skip dil3, max skip, skip sep3, skip sep3, skip dil3, "
    "skip sep3, max skip, skip dil3, dil3 dil5, dil3 dil5",
    "reduce": "max avg, max dil3, max avg, max avg, skip dil5, max avg, max sep3, skip dil3, skip dil5, max avg, "
    "max avg, skip dil5, skip dil5, skip dil5",
}
_FULL = {
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}
_EDGES = [f"{source}-{target}" for target in range(2, 6) for source in range(target)]
S1 = {
    kind: {edge: tuple(_FULL[op] for op in ops.split()) for edge, ops in zip(_EDGES, text.split(","), strict=True)}
    for kind, text in _S1.items()
}  # kind -> edge -> operations


def _cells(
    name: str, nodes: int, operations: Sequence[str], offered: Mapping[str, Mapping[str, Sequence[str]]] | None = None
) -> TopKCells:
    return TopKCells(
        name,
        {} if offered else {"nodes": nodes},
        kinds=("normal", "reduce"),
        reductions=("reduce",),
        inputs=2,
        nodes=nodes,
        operations=operations,
        offered=offered,
        macro="darts",
    )


@SPACES.register("s1")
def s1() -> TopKCells:
    """Two operations an edge, out of six."""
    return _cells("s1", 4, tuple(_FULL.values()), S1)


@SPACES.register("s2")
def s2(nodes: int = 4) -> TopKCells:
    """The space with `nodes` intermediate nodes a cell."""
    return _cells("s2", nodes, ("skip_connect", "sep_conv_3x3"))


@SPACES.register("s3")
def s3(nodes: int = 4) -> TopKCells:
    """The space with `nodes` intermediate nodes a cell."""
    return _cells("s3", nodes, ("none", "skip_connect", "sep_conv_3x3"))


@SPACES.register("s4")
def s4(nodes: int = 4) -> TopKCells:
    """The space with `nodes` intermediate nodes a cell."""
    return _cells("s4", nodes, ("noise", "sep_conv_3x3"))
