"""The compiled CPU bodies of all operators: whether there are any here, and where they are switched on.

`with compiled():` switches them on for the operators called inside (in this thread and context only); `available` and
`why_not` say whether they can be. `build.py` compiles and keeps them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ...errors import SupernetError
from .build import compiler, library, load

__all__ = ["available", "compiled", "compiler", "library", "load", "serves", "why_not"]

_on: ContextVar[bool] = ContextVar("compiled CPU bodies", default=False)


@contextmanager
def compiled(on: bool = True) -> Iterator[None]:
    """Operators called inside take the compiled bodies, or with `on` False the stock ones.

    Raises SupernetError where they cannot be compiled.
    """
    if on:
        library()
    before = _on.set(on)
    try:
        yield
    finally:
        _on.reset(before)


def serves(x: Tensor) -> bool:
    """Whether an operator on `x`, of any shape, is to take the compiled body."""
    return _on.get() and x.dtype == torch.float32 and x.device.type == "cpu"


def available() -> bool:
    """Whether there are compiled bodies here; the first call compiles them."""
    return not why_not()


def why_not() -> str:
    """One line that says why there are no compiled bodies and what to do; empty where there are."""
    try:
        library()
    except SupernetError as error:
        return str(error)
    return ""
