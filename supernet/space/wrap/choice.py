"""The choice that takes a module's place in a network which was written without choices.

Code around the module still finds the attributes that it reads from it (`conv.out_channels`): they fall through to the
original. The dry run refuses those that are no plain values, and those that an alternative has with another value.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ..choice import Choice
from .rules import ORIGINAL

__all__ = ["WrappedChoice", "is_plain"]

Probe = Callable[["WrappedChoice", tuple[object, ...], dict[str, object]], Tensor]


class WrappedChoice(Choice):
    """A choice between the module known as `place` and its alternatives.

    During a dry run `probe` runs in place of the options, and `reads` collects the attributes that were read.
    """

    def __init__(self, options: Mapping[str, nn.Module], *, place: str) -> None:
        super().__init__(options, default=ORIGINAL)
        self.place = place
        self.probe: Probe | None = None
        self.reads: set[str] = set()

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """[...] to [...] as `Choice.forward`, but for a dry run."""
        if self.probe is not None:
            return self.probe(self, inputs, named)
        return super().forward(*inputs, **named)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            modules = self.__dict__.get("_modules", {})
            if name.startswith("__") or "options" not in modules:  # copying and pickling ask for methods of ours
                raise
            value = getattr(modules["options"][ORIGINAL], name)
        if self.__dict__.get("probe") is not None:
            self.reads.add(name)
        return value

    def __getitem__(self, key: object) -> NoReturn:
        self._refuse_parts()

    def __iter__(self) -> NoReturn:
        self._refuse_parts()

    def _refuse_parts(self) -> NoReturn:
        raise SupernetError(
            f"module {self.place!r} is taken apart by the code around it, so nothing can stand in its place; match the "
            "modules inside it"
        )


def is_plain(value: object) -> bool:
    """Whether an attribute describes a module and is no part of it: a number, text, or a tuple of those."""
    if isinstance(value, tuple | list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device)
