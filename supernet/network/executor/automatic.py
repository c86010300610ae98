"""`executor=auto`: the fastest executor that serves the states at hand, chosen at the first pass and said in the log.

on a GPU          cuda, where NVRTC is there and the kernels have passed their check on this GPU (selfcheck.py)
on the processor  cpu, for float32 where a C++ compiler is there
else              torch, and always where edge connectors or observers are attached
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

    @uncompiled  # choosing may start a compiler
    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        return self.chosen(x[0], hooked=weights.hooks is not None)(x, weights, p, mask)

    def chosen(self, x: Tensor, *, hooked: bool = False) -> Executor:
        """The executor for states like `x` [B, C, H, W], of cells that are `hooked`: have connectors or observers."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        key = x.device, dtype, hooked
        if key not in self._chosen:
            name, why = choose(*key)
            log.info("executor=auto takes '%s': %s", name, why)
            self._chosen[key] = EXECUTORS[name]()
        return self._chosen[key]


def choose(device: torch.device, dtype: torch.dtype, hooked: bool = False) -> tuple[str, str]:
    """(name, reason) of what `auto` takes for states of this type on this device."""
    if hooked:
        return "torch", "edge connectors and observers are about the outputs of single operations"
    if device.type == "cuda" and dtype in (torch.float32, torch.bfloat16):
        fault = unproven(device)
        return ("cuda", "its kernels serve here") if fault is None else ("torch", fault)
    if device.type == "cpu" and dtype == torch.float32:
        if host.available():
            return "cpu", "the kernels' bodies are compiled for this processor"
        return "torch", host.why_not()
    return "torch", f"no kernels serve {dtype} on {device.type}"
