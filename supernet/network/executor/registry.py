"""The registry of executors, and what each of them is."""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from ...errors import SupernetError
from ...registry import Registry
from ..connector import name_of
from ..mixture import Mask

if TYPE_CHECKING:
    from ..cells.cell import MixedCell
    from ..connector import EdgeHooks

__all__ = ["EXECUTORS", "Executor", "refuse_hooks"]


class Executor(Protocol):
    """Runs one mixed cell; see the package for the meaning of the arguments."""

    name: ClassVar[str]
    double_backward: ClassVar[bool]  # may its output be differentiated twice?
    channels_last: ClassVar[bool]  # the memory format that it is fast in
    serves_hooks: ClassVar[bool]  # does it form the single outputs that edge connectors and observers are about?

    def __call__(self, x: Sequence[Tensor], weights: "MixedCell", p: Tensor, mask: Mask) -> Tensor:
        """The cell's output [B, C', H', W'] of its input states [B, C, H, W], with `p` and `mask` [E, O]."""
        ...


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor")


def refuse_hooks(name: str, hooks: "EdgeHooks | None") -> None:
    """Raises SupernetError for an executor that cannot serve the edge connectors and observers of a cell."""
    if hooks is not None:
        connectors = [f"edge connector {name_of(hook)}" for hook in hooks.connectors]
        observers = [f"observer {name_of(hook)}" for hook in hooks.observers]
        raise SupernetError(
            f"executor={name} cannot serve the {(connectors or observers)[0]}, for its kernels never form the outputs "
            "of single operations; use executor=torch or auto"
        )
