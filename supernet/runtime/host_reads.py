"""What makes the host wait for a device, or a device take something from the host, seen while operations run.

Either would stop a captured graph: it replays kernels, and neither a decision on the host nor a number that the host
made is among them. Sees what passes torch's dispatcher; the inside of an operator is its own affair, and so is
`Tensor.tolist` of a tensor on the processor.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["HostReads"]

aten = torch.ops.aten
# Their results, or the sizes of these, are numbers on the host.
READS = {
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.nonzero, aten.nonzero_numpy, aten.equal,
    aten.masked_select, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.bincount,
    aten.repeat_interleave,
}  # fmt: skip
INDEXES = {aten.index, aten.index_put, aten.index_put_}
MAKES = {aten.lift_fresh, aten.lift_fresh_copy}  # a tensor out of the host's numbers: torch.tensor(...)


class HostReads(TorchDispatchMode):
    """Inside, notes in `seen` the names of operations at which `device` and the host would wait for each other.

    With `device` the processor every tensor counts as if it were on a GPU, which is how a step is proven without one.
    With `forbid` the first one raises RuntimeError.
    """

    def __init__(self, device: torch.device, *, forbid: bool = False) -> None:
        super().__init__()
        self.device, self.forbid, self.seen = device, forbid, []

    seen: list[str]

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if reason := self._reason(func, _tensors((args, kwargs or {})), _tensors(result)):
            self.seen.append(reason)
            if self.forbid:
                raise RuntimeError(f"the step is not the device's alone: {reason}")
        return result

    def _reason(self, func: OpOverload, inputs: list[Tensor], outputs: list[Tensor]) -> str | None:
        packet, name = func.overloadpacket, str(func)
        here = self.device.type == "cpu"
        on_device = [t for t in inputs if t.device.type == self.device.type]
        if packet in READS and on_device:
            return f"{name} reads a number on the host"
        if packet in INDEXES and any(t.dtype == torch.bool for t in on_device[1:]):
            return f"{name} by a mask, whose number of entries the host must know"
        if packet in MAKES and any(t.device.type == self.device.type for t in outputs):
            return f"{name} takes numbers from the host"
        if here:
            return None
        # A single number on the host goes to a kernel as it is; more of them are copied.
        if any(t.device.type == "cpu" and t.dim() for t in inputs) and (on_device or _on(outputs, self.device)):
            return f"{name} copies from the host"
        if on_device and outputs and not _on(outputs, self.device):
            return f"{name} copies to the host"
        return None


def _on(tensors: list[Tensor], device: torch.device) -> bool:
    return any(t.device.type == device.type for t in tensors)


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []
