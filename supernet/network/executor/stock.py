"""The wide executor over stock operations (`executor=torch`): identical mathematics, less work.

Once for each source state: ReLU, both poolings, and their batch statistics, which are the same for every edge that
leaves the state. `none` costs nothing. Each node is one weighted sum in one pass, whose backward needs the operations'
outputs only where p needs a gradient. Everything stays channels_last, in which stock depthwise convolutions and their
backward were measured 2 to 5 times faster on the CPU.
"""
# B batch, C channels, H height, W width, E edges, O operations, T terms of one node

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cuda_kernels.operators import Context
from ...ops import PreActivated
from ...ops.identity import Zero
from ..cells.partial_channels import bypass, join, share, take
from ..cells.pool_norm import PoolNorm
from ..connector import AUXILIARY_COLUMN
from ..gates import gated_statistics
from ..mixture import HostMask, Mask, split_gate
from .cpu_forms import after_relu, enter
from .registry import EXECUTORS

if TYPE_CHECKING:
    from ...space.cells import Edge
    from ..cells.cell import MixedCell

__all__ = ["Wide", "weighted_sum"]

MOST_PLACES = 1024  # index tensors that a cell keeps: a sampler of paths asks for other ones at each step


@EXECUTORS.register("torch")
class Wide:
    """Shares what the edges of one source state have in common; sums a node in one pass."""

    name: ClassVar[str] = "torch"
    double_backward: ClassVar[bool] = True
    channels_last: ClassVar[bool] = True
    serves_hooks: ClassVar[bool] = True

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        with gated_statistics(weights.gated(mask)) if isinstance(mask, Tensor) else nullcontext():
            return _run(x, weights, *split_gate(p, mask))


def _run(x: Sequence[Tensor], cell: "MixedCell", p: Tensor, mask: HostMask) -> Tensor:
    states = [_Source(state, cell.partial) for state in enter(cell, x)]
    for node in range(cell.nodes):
        outputs: list[Tensor] = []
        places: list[tuple[int, int]] = []
        running: list[Edge] = []
        for edge in cell.incoming(node):
            offered = [(column, op) for column, op in cell.operations(edge.row) if mask[edge.row][column]]
            running += [edge] if offered else []
            source = states[edge.source]
            terms = {column: source.apply(op) for column, op in offered if not isinstance(op, Zero)}
            if cell.hooks is not None and offered:
                terms = cell.hooks(edge.row, source.x, terms)
            outputs += terms.values()
            places += [(edge.row, column) for column in terms]
        total = _mixed(cell, p, tuple(places), outputs) if outputs else None
        if running and cell.partial > 1:
            total = _with_bypass(total, cell, running, states, p, mask)
        elif total is None:
            total = cell.empty(node, [state.whole for state in states])
        states.append(_Source(total, cell.partial))
    return cell.leave([state.whole for state in states])


def _mixed(cell: "MixedCell", p: Tensor, places: tuple[tuple[int, int], ...], outputs: Sequence[Tensor]) -> Tensor:
    """sum_t p[places[t]] * outputs[t]: the terms [B, C, H, W] of one node; what is auxiliary has the weight 1."""
    key = places, p.device
    flat = p.flatten()
    if any(column == AUXILIARY_COLUMN for _, column in places):
        flat = torch.cat([flat, flat.new_ones(1)])
    if key not in cell.places:
        if len(cell.places) >= MOST_PLACES:
            cell.places.clear()
        with torch.inference_mode(False):  # stays on the device, where a captured step may not copy it to
            indices = [p.numel() if column == AUXILIARY_COLUMN else row * p.shape[1] + column for row, column in places]
            cell.places[key] = torch.tensor(indices).to(p.device)
    return weighted_sum(flat.index_select(0, cell.places[key]), outputs)


def _with_bypass(
    mix: Tensor | None,
    weights: "MixedCell",
    running: Sequence["Edge"],
    states: Sequence["_Source"],
    p: Tensor,
    mask: HostMask,
) -> Tensor:
    """The node [B, C, H, W] of `mix`, which has the channels that operations see; None where only `none` runs."""
    k, seen = weights.partial, weights.plan.channels // weights.partial
    rests = [states[edge.source].bypass(weights.stride(edge.source))[:, seen:] for edge in running]
    rest = weighted_sum(torch.stack([share(p[edge.row], mask[edge.row]) for edge in running]), rests)
    if mix is None:
        mix = rest.new_zeros((rest.shape[0], seen, *rest.shape[2:]))
    return join(mix, rest, k)


class _Source:
    """A state and what its outgoing edges share, each computed when first asked for.

    `whole` is the state [B, C, H, W], `x` the part of it that operations see: its first C / k channels.
    """

    def __init__(self, whole: Tensor, k: int) -> None:
        self.whole, self.x = whole, take(whole, k)
        self._bypass: dict[int, Tensor] = {}
        self._relu: Tensor | None = None
        self._pooled: dict[tuple[object, ...], Tensor] = {}
        self._normed: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}

    def apply(self, op: nn.Module) -> Tensor:
        """The output [B, C, H', W'] of an operation."""
        if isinstance(op, PreActivated):
            if self._relu is None:
                self._relu = F.relu(self.x)
            return after_relu(op, self._relu)
        if isinstance(op, PoolNorm):
            return self._pool_norm(op)
        if isinstance(op, nn.AvgPool2d | nn.MaxPool2d):
            return self._pool(op)
        return op(self.x)

    def bypass(self, stride: int) -> Tensor:
        """The state at the size of the output of an edge of this stride."""
        if stride not in self._bypass:
            self._bypass[stride] = bypass(self.whole, stride)
        return self._bypass[stride]

    def _pool(self, pool: nn.Module) -> Tensor:
        key = _form(pool)
        if key not in self._pooled:
            self._pooled[key] = pool(self.x)
        return self._pooled[key]

    def _pool_norm(self, op: PoolNorm) -> Tensor:
        """One normalisation for all edges; each edge's running statistics advance by its own momentum.

        Not in evaluation, where the running statistics are used and may differ from edge to edge.
        """
        key = _form(op.pool), op.norm.eps
        if not op.training:
            return op.norm(self._pool(op.pool))
        if key not in self._normed:
            pooled = self._pool(op.pool)
            wide = torch.promote_types(pooled.dtype, torch.float32)  # statistics are kept in float32 under autocast
            mean, var = pooled.new_zeros((2, pooled.shape[1]), dtype=wide)
            # With momentum 1 the buffers receive this batch's own statistics.
            y = F.batch_norm(pooled, mean, var, training=True, momentum=1.0, eps=op.norm.eps)
            self._normed[key] = (y, mean, var)
        y, mean, var = self._normed[key]
        op.advance(mean, var)
        return y


_POOL_SETTINGS = (
    "kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override",
    "return_indices",
)  # fmt: skip


def _form(pool: nn.Module) -> tuple[object, ...]:
    """What two poolings must have in common to compute the same: candidates of one's own may use any window."""
    return type(pool), *(getattr(pool, name, None) for name in _POOL_SETTINGS)


def weighted_sum(p: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """sum_t p[t] * outputs[t] for `p` of shape [T] and outputs of one shape [B, C, H, W], in one pass."""
    total: Tensor = _WeightedSum.apply(p, *outputs)
    return total


class _WeightedSum(torch.autograd.Function):
    """d outputs[t] = p[t] g and dp[t] = <g, outputs[t]>; the backward is differentiable itself."""

    @staticmethod
    def forward(ctx: Context, p: Tensor, *outputs: Tensor) -> Tensor:
        needs_p = ctx.needs_input_grad[0]
        ctx.save_for_backward(p, *(outputs if needs_p else ()))
        dtype = outputs[0].dtype
        for y in outputs[1:]:  # under autocast an identity may be wider than a convolution
            dtype = torch.promote_types(dtype, y.dtype)
        if p.device.type == "cpu":
            factors = p.tolist()
            total = outputs[0].to(dtype) * factors[0]
            for factor, y in zip(factors[1:], outputs[1:], strict=True):
                total.add_(y, alpha=factor)
            return total
        total = outputs[0].to(dtype) * p[0]  # on a device p stays there: reading it would make the host wait
        for t, y in enumerate(outputs[1:], start=1):
            total.addcmul_(y, p[t])
        return total

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        p, *outputs = ctx.saved_tensors
        dp = torch.stack([_inner(g, y) for y in outputs]).to(p.dtype) if outputs else None
        # Plain numbers are the quicker factors; a backward that is differentiated itself needs p, and so does a device.
        factors: Tensor | list[float] = p if torch.is_grad_enabled() or p.device.type != "cpu" else p.tolist()
        return dp, *(g * factors[t] if needs else None for t, needs in enumerate(ctx.needs_input_grad[1:]))


def _inner(g: Tensor, y: Tensor) -> Tensor:
    return (g * y).sum(dtype=torch.promote_types(g.dtype, torch.float32))
