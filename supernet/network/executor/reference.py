"""The oracle: each operation on its own, in the order of the tables. Slow and clear.

node_i = sum over edges j -> i, operations o that the edge offers:  p[j -> i, o] * o(state_j)

With partial channels each edge is written out on its own (partial.py).
"""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from ..partial_channels import bypass, join, share, take
from .registry import EXECUTORS, Mask, on_host

if TYPE_CHECKING:
    from ...space.cells import Edge
    from ..cell import MixedCell

__all__ = ["Reference"]


@EXECUTORS.register("reference")
class Reference:
    """A loop over edges and operations, `none` included."""

    name: ClassVar[str] = "reference"
    double_backward: ClassVar[bool] = True
    channels_last: ClassVar[bool] = False

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask | Tensor) -> Tensor:
        mask = on_host(mask)
        states = weights.enter(x)
        for node in range(weights.nodes):
            terms = [
                term
                for edge in weights.incoming(node)
                for term in _terms(weights, edge, states[edge.source], p[edge.row], mask[edge.row])
            ]
            total = sum(terms[1:], terms[0]) if terms else weights.empty(node, states)
            states.append(total)
        return weights.leave(states)


def _terms(weights: "MixedCell", edge: "Edge", x: Tensor, p: Tensor, mask: Sequence[bool]) -> list[Tensor]:
    """What one edge adds to its node: a term for each operation that runs; with partial channels one term in all."""
    k = weights.partial
    seen = take(x, k)
    terms = [p[column] * op(seen) for column, op in weights.operations(edge.row) if mask[column]]
    if k == 1 or not terms:
        return terms
    passed = bypass(x, weights.stride(edge.source))[:, seen.shape[1] :]
    return [join(sum(terms[1:], terms[0]), share(p, mask) * passed, k)]
