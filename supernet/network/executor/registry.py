"""The registry of executors, and how `auto` picks one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from ...errors import SupernetError, unknown
from ...registry import Registry

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["EXECUTORS", "Executor", "Mask", "make_executor", "on_host"]

Mask = Sequence[Sequence[bool]]


class Executor(Protocol):
    """Runs one mixed cell; see the package for the meaning of the arguments."""

    name: ClassVar[str]
    double_backward: ClassVar[bool]  # may its output be differentiated twice?
    channels_last: ClassVar[bool]  # the memory format that it is fast in

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: "Mask | Tensor") -> Tensor: ...


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor")


def on_host(mask: Mask | Tensor) -> Mask:
    """The mask as plain values; the host waits for one that is on a device."""
    return mask.tolist() if isinstance(mask, Tensor) else mask


def make_executor(name: str) -> Executor:
    """The executor `name`; "auto" takes the fastest that serves, at the first pass, and logs which."""
    if name == "auto":
        from .automatic import Auto  # which chooses among those registered here

        return Auto()
    if name not in EXECUTORS:
        raise SupernetError(unknown("executor", name, ["auto", *EXECUTORS]))
    return EXECUTORS[name]()
