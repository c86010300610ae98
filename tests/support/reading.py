"""Every look at a tensor's numbers, noted on a machine where all of them are on the processor."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from supernet.runtime.host_reads import HostReads

__all__ = ["Reading"]

# Past torch's dispatcher where the tensor is on the processor, and so not seen by HostReads.
LOOKS = {Tensor.tolist, Tensor.numpy, Tensor.cpu}


class Reading:
    """Inside, `read` is called with the name of each operation at which a host would have to wait for a device."""

    def __init__(self, read: Callable[[str], None]) -> None:
        self._modes = (_Looks(read), _Notes(read))

    def __enter__(self) -> Self:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, at)


class _Looks(TorchFunctionMode):
    def __init__(self, read: Callable[[str], None]) -> None:
        super().__init__()
        self._read = read

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LOOKS:
            self._read(func.__name__)
        return func(*args, **(kwargs or {}))


class _Notes(HostReads):
    def __init__(self, read: Callable[[str], None]) -> None:
        super().__init__(torch.device("cpu"))
        self._read = read

    def _reason(self, func: Any, given: list[Tensor], made: list[Tensor]) -> str | None:
        if reason := super()._reason(func, given, made):
            self._read(reason)
        return reason
