"""A bound on all weights of a network together, held while it is built.

Each size of a network may lie within its own bound and their product be hundreds of gigabytes, in a genotype or space
file that a stranger wrote. `torch.empty` reserves memory without touching it, and a layer fills its weights only after
it has them; so a network that is too large ends here before its memory is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import SupernetError
from ..space.form.network import NetworkForm
from ..space.registry import SPACES
from ..space.space import Space

__all__ = ["MOST_WEIGHTS", "bounded", "sized_by_files"]

_MAKERS = (torch.empty, torch.zeros, torch.ones)
MOST_WEIGHTS = 500_000_000  # 2 GB in float32; the largest network of the registered spaces has about 54 million


def bounded(space: Space) -> AbstractContextManager[object]:
    """Inside, building a network of `space` raises SupernetError at over MOST_WEIGHTS weights.

    A network of the user's own class is as large as the user made it.
    """
    return _Counting(space.name) if sized_by_files(space) else nullcontext()


def sized_by_files(space: Space) -> bool:
    """Whether a genotype or space file says how large the networks of `space` are, and no code of the user's own."""
    return (
        space.name in SPACES or isinstance(space.factory, NetworkForm) or getattr(space.factory, "sized_by_file", False)
    )


class _Counting(TorchFunctionMode):
    """Adds up the elements of the tensors that are made."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.weights = name, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _MAKERS and isinstance(made, Tensor):
            self.weights += made.numel()
            if self.weights > MOST_WEIGHTS:
                raise SupernetError(
                    f"this network of space {self.name[:60]!r} has over {MOST_WEIGHTS:,} weights; give smaller sizes, "
                    "such as fewer channels or layers"
                )
        return made
