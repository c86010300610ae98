"""The wide executors over fused kernels: `cpu` (their bodies for the processor) and `cuda`.

One mixed cell is one function of autograd. Forwards, state by state: the edge group of all separable candidates that
leave it, the second halves, both poolings; then each node is one pass over its terms, which normalises, weighs and
adds. Kept are the states and what stands before each norm; backwards all else is computed again where it is read.

The backward of all norms is an affine function of the upstream gradient and the kept tensor, whose coefficients come
with the sums that dL/dp needs anyway, so no gradient of a term is ever written. It cannot be differentiated twice.
"""
# B batch, C channels, H height, W width, E edges, O operations, T terms of a node

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ...cuda_kernels import host
from ...errors import SupernetError
from ..mixture import HostMask, Mask, full
from ..uncompiled import uncompiled
from .cell_backward import CellBackward
from .cell_forward import CellForward
from .cpu_forms import enter
from .inner_graphs import keeps_graph
from .layout import Layout, layout_of
from .record import Record
from .registry import EXECUTORS, refuse_hooks

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["Cpu", "Cuda", "Fused"]

log = logging.getLogger(__name__)
MOST_LAYOUTS = 64  # of one cell: one for each mask that was used, such as the paths that a sampler takes


class Fused:
    """Both executors; `kernels()` is what surrounds each pass, and `check` refuses what they do not serve."""

    name: ClassVar[str]
    double_backward: ClassVar[bool] = False
    channels_last: ClassVar[bool] = True
    serves_hooks: ClassVar[bool] = False

    def check(self, x: Tensor) -> None:
        """Raises SupernetError where states like `x` [B, C, H, W] cannot be served here."""
        raise NotImplementedError

    def kernels(self) -> AbstractContextManager[object]:
        """What each pass runs in."""
        return nullcontext()

    @uncompiled  # its operators compile; the bookkeeping around them would be traced in vain
    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        """The output [B, C', H', W'] of a mixed cell for its inputs [B, C, H, W], `p` [E, O] and `mask` [E, O]."""
        refuse_hooks(self.name, weights.hooks)
        states = enter(weights, x)
        self.check(states[0])
        gate = None
        if isinstance(mask, Tensor):  # which operations run is known to the device alone
            gate, mask = mask.to(p.dtype), full(p)
        layout = _layout(weights, mask)
        amp = torch.is_autocast_enabled(states[0].device.type)
        if amp:  # a state may be wider than what convolutions make of it
            dtype = torch.get_autocast_dtype(states[0].device.type)
            states = [state.to(dtype) for state in states]
        return _Cell.apply(self, weights, layout, gate, len(states), p, *states, *layout.parameters)


@EXECUTORS.register("cpu")
class Cpu(Fused):
    """The kernels' bodies for the processor, compiled at first use by the C++ compiler of this machine.

    float32 is theirs; other types run through the same operators' stock bodies.
    """

    name: ClassVar[str] = "cpu"

    def check(self, x: Tensor) -> None:
        """Raises SupernetError unless the processor's kernels can serve states such as `x` [B, C, H, W]."""
        if x.device.type != "cpu":
            raise SupernetError(
                f"executor=cpu is for tensors on the processor, not on {x.device}; use executor=cuda or auto"
            )
        if x.dtype == torch.float32 and not host.available():
            raise SupernetError(f"executor=cpu: {host.why_not()}")

    def kernels(self) -> AbstractContextManager[object]:
        return host.compiled() if host.available() else nullcontext()


@EXECUTORS.register("cuda")
class Cuda(Fused):
    """The CUDA kernels, in float32 or bf16, compiled at first use by NVRTC."""

    name: ClassVar[str] = "cuda"

    def check(self, x: Tensor) -> None:
        """Raises SupernetError unless the GPU's kernels can serve states such as `x` [B, C, H, W]."""
        if x.device.type != "cuda":
            raise SupernetError(
                f"executor=cuda needs tensors on a GPU, not on {x.device}; use executor=cpu, torch or auto"
            )
        if x.dtype not in (torch.float32, torch.bfloat16) and not torch.is_autocast_enabled("cuda"):
            raise SupernetError(f"executor=cuda serves float32 and bf16, not {x.dtype}; use executor=torch")


def _layout(cell: "MixedCell", mask: HostMask) -> Layout:
    """The cell's layout under this mask; made anew where a module or parameter of the cell has been replaced."""
    layouts: dict[tuple[tuple[bool, ...], ...], Layout] = cell.layouts
    key = tuple(map(tuple, mask))
    if key not in layouts or not layouts[key].current():
        if len(layouts) >= MOST_LAYOUTS:
            layouts.clear()
        layouts[key] = layout_of(cell, mask)
    return layouts[key]


class _Context(FunctionCtx):
    """What the forward leaves for the backward, beside p, the `n` kept tensors and the parameters."""

    executor: Fused
    cell: "MixedCell"
    layout: Layout
    record: Record
    n: int
    needs_states: tuple[bool, ...]
    needs_weights: bool
    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]


class _Cell(torch.autograd.Function):
    """output = cell(p, states, parameters); the parameters are arguments, so that autograd gives them gradients."""

    @staticmethod
    def forward(
        ctx: _Context, executor: Fused, cell: "MixedCell", layout: Layout, gate: Tensor | None, inputs: int,
        p: Tensor, *rest: Tensor,
    ) -> Tensor:  # fmt: skip
        needs = ctx.needs_input_grad
        run = CellForward(cell, layout, p, gate, keeps=any(needs))
        with executor.kernels():
            out = run.run(rest[:inputs])
        ctx.executor, ctx.cell, ctx.layout, ctx.record = executor, cell, layout, run.record
        ctx.needs_states, ctx.needs_weights = needs[6 : 6 + inputs], any(needs[6 + inputs :])
        tensors, run.record.tensors = run.record.tensors, []
        ctx.n = len(tensors)
        # The parameters are saved so that an update in place before the backward is noticed.
        ctx.save_for_backward(p, *tensors, *rest[inputs:])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        p, *tensors = ctx.saved_tensors[: 1 + ctx.n]
        run = CellBackward(ctx.cell, ctx.layout, ctx.record, tensors, ctx.needs_weights)
        # Autocast may be on around a backward too, and the operators are told their types.
        with ctx.executor.kernels(), torch.autocast(p.device.type, enabled=False):
            states = run.run(grads[0].to(tensors[0].dtype), ctx.needs_states)
        dp = run.dp(p.shape, p) if ctx.needs_input_grad[5] else None
        if not keeps_graph():
            ctx.record.clear()
        weights = [run.weights.get(parameter) for parameter in ctx.layout.parameters]
        return None, None, None, None, None, dp, *states, *weights
