"""The oracle: each operation on its own, in the order of the tables. Slow and clear.

node_i = sum over edges j -> i, operations o that the edge offers:  p[j -> i, o] * o(state_j)

With partial channels each edge is written out on its own (partial_channels.py).
"""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from ...ops.identity import Zero
from ..cells.partial_channels import bypass, join, share, take
from ..connector import AUXILIARY_COLUMN
from ..gates import gated_statistics
from ..mixture import HostMask, Mask, split_gate
from .registry import EXECUTORS

if TYPE_CHECKING:
    from ...space.cells import Edge
    from ..cells.cell import MixedCell

__all__ = ["Reference"]


@EXECUTORS.register("reference")
class Reference:
    """A loop over edges and operations, `none` included."""

    name: ClassVar[str] = "reference"
    double_backward: ClassVar[bool] = True
    channels_last: ClassVar[bool] = False
    serves_hooks: ClassVar[bool] = True

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        with gated_statistics(weights.gated(mask)) if isinstance(mask, Tensor) else nullcontext():
            return _run(x, weights, *split_gate(p, mask))


def _run(x: Sequence[Tensor], cell: "MixedCell", p: Tensor, mask: HostMask) -> Tensor:
    states = cell.enter(x)
    for node in range(cell.nodes):
        terms = [
            term
            for edge in cell.incoming(node)
            for term in _terms(cell, edge, states[edge.source], p[edge.row], mask[edge.row])
        ]
        states.append(sum(terms[1:], terms[0]) if terms else cell.empty(node, states))
    return cell.leave(states)


def _terms(cell: "MixedCell", edge: "Edge", x: Tensor, p: Tensor, mask: Sequence[bool]) -> list[Tensor]:
    """What one edge adds to its node: a term for each operation that runs; with partial channels one term in all."""
    seen = take(x, cell.partial)
    running = [(column, op) for column, op in cell.operations(edge.row) if mask[column]]
    outputs: Iterable[tuple[int, Tensor]] = ((column, op(seen)) for column, op in running)
    if cell.hooks is not None and running:
        outputs = cell.hooks(edge.row, seen, {c: op(seen) for c, op in running if not isinstance(op, Zero)}).items()
    terms = [y if column == AUXILIARY_COLUMN else p[column] * y for column, y in outputs]
    if cell.partial == 1 or not running:
        return terms
    rest = share(p, mask) * bypass(x, cell.stride(edge.source))[:, seen.shape[1] :]
    mix = sum(terms[1:], terms[0]) if terms else rest.new_zeros((rest.shape[0], seen.shape[1], *rest.shape[2:]))
    return [join(mix, rest, cell.partial)]
