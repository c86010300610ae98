"""The oracle: each operation on its own, in the order of the tables. Slow and clear.

node_i = sum over edges j -> i, operations o that the edge offers:  p[j -> i, o] * o(state_j)
"""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from .registry import EXECUTORS, Mask

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["Reference"]


@EXECUTORS.register("reference")
class Reference:
    """A loop over edges and operations, `none` included."""

    name: ClassVar[str] = "reference"
    double_backward: ClassVar[bool] = True
    channels_last: ClassVar[bool] = False

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        states = weights.enter(x)
        for node in range(weights.nodes):
            terms = [
                p[edge.row, column] * op(states[edge.source])
                for edge in weights.incoming(node)
                for column, op in weights.operations(edge.row)
                if mask[edge.row][column]
            ]
            total = sum(terms[1:], terms[0]) if terms else weights.empty(node, states)
            states.append(total)
        return weights.leave(states)
