"""The registry of executors, and how `auto` picks one."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from ...registry import Registry

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["EXECUTORS", "Executor", "Mask", "make_executor"]

Mask = Sequence[Sequence[bool]]
log = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs one mixed cell; see the package for the meaning of the arguments."""

    name: ClassVar[str]
    double_backward: ClassVar[bool]  # may its output be differentiated twice?
    channels_last: ClassVar[bool]  # the memory format that it is fast in

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor: ...


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor")


def make_executor(name: str) -> Executor:
    """The executor `name`; "auto" takes the fastest that serves here and logs which."""
    if name == "auto":
        log.info("executor=auto takes 'torch'")
        name = "torch"
    return EXECUTORS[name]()
