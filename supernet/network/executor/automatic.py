"""`executor=auto`: the fastest executor that serves the states at hand, and why, as one line of the log says.

on a GPU          cuda, where NVRTC is there and the kernels have passed their check on this GPU (selfcheck.py)
on the processor  cpu, for float32 where a C++ compiler is there and most candidates with weights are separable
else              torch, and always where edge connectors or observers are attached

A search settles it before its first step and keeps it when it is resumed (train/settled.py).
"""
# B batch, C channels, H height, W width, E edges, O operations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ...cuda_kernels import host
from ...cuda_kernels.selfcheck import unproven
from ..mixture import Mask
from ..uncompiled import uncompiled
from .registry import EXECUTORS, Executor
from .separable_halves import separable_halves

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["Auto", "choose"]

log = logging.getLogger(__name__)


class Auto:
    """Hands each pass to the executor that was chosen for tensors of its device and type."""

    name: ClassVar[str] = "auto"
    double_backward: ClassVar[bool] = False  # of those it may choose; what needs it asks for another
    channels_last: ClassVar[bool] = True
    serves_hooks: ClassVar[bool] = True

    def __init__(self) -> None:
        self._chosen: dict[tuple[torch.device, torch.dtype, bool], Executor] = {}

    def settle(self, device: torch.device, dtype: torch.dtype, name: str) -> None:
        """Take the executor `name` for choices whose outputs are of this type on this device, which has its number."""
        self._chosen[device, dtype, False] = EXECUTORS[name]()

    @uncompiled  # choosing may start a compiler
    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        return self.chosen(x[0], weights)(x, weights, p, mask)

    def chosen(self, x: Tensor, cell: "MixedCell | None" = None) -> Executor:
        """The executor for states like `x` [B, C, H, W], of a cell and of all others of its network, or of choices."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        key = x.device, dtype, cell is not None and cell.hooks is not None
        if key not in self._chosen:
            name, why = choose(*key, dense=cell is not None and not mostly_separable(cell))
            log.info("executor=auto takes '%s': %s", name, why)
            self._chosen[key] = EXECUTORS[name]()
        return self._chosen[key]


def mostly_separable(cell: "MixedCell") -> bool:
    """Whether more than half of a cell's candidates that have weights are separable convolutions.

    For those there are fused kernels; the others are stock operations, which the executor `torch` runs faster: a step
    of NAS-Bench-201, whose convolutions are dense, took 1.6 to 1.9 times as long by `cpu`.
    """
    weighty = [(op, edge.stride) for edge in cell.edge_sites(0) for _, op in cell.operations(edge.row)]
    weighty = [(op, stride) for op, stride in weighty if next(op.parameters(), None) is not None]
    return 2 * sum(bool(separable_halves(op, stride)) for op, stride in weighty) > len(weighty)


def choose(device: torch.device, dtype: torch.dtype, hooked: bool = False, dense: bool = False) -> tuple[str, str]:
    """(name, reason) of what `auto` takes for states of this type on this device.

    `hooked`: cells have edge connectors or observers; `dense`: few of their candidates are separable.
    """
    if hooked:
        return "torch", "edge connectors and observers are about the outputs of single operations"
    if device.type == "cuda" and dtype in (torch.float32, torch.bfloat16):
        fault = unproven(device)
        return ("cuda", "its kernels serve here") if fault is None else ("torch", fault)
    if device.type == "cpu" and dtype == torch.float32:
        if dense:
            return "torch", "few candidates are separable, and only those have kernels on the processor"
        if host.available():
            return "cpu", "the kernels' bodies are compiled for this processor"
        return "torch", host.why_not()
    return "torch", f"no kernels serve {dtype} on {device.type}"
