"""The registry of candidate operations and the one way to build them."""

from typing import Protocol

from torch import nn

from ..errors import SupernetError
from ..registry import Registry

__all__ = ["OPERATIONS", "OperationBuilder", "operation"]


class OperationBuilder(Protocol):
    """Builds a module that maps [B, c_in, H, W] to [B, c_out, ceil(H / stride), ceil(W / stride)]."""

    def __call__(self, c_in: int, c_out: int, stride: int, affine: bool) -> nn.Module: ...


OPERATIONS: Registry[OperationBuilder] = Registry("operation")


def operation(name: str, c_in: int, c_out: int, stride: int = 1, affine: bool = True) -> nn.Module:
    """The operation `name`; stride 1 or 2; `affine` gives its batch norms a learned scale and shift.

    Raises SupernetError for an unknown name and for sizes that no operation has.
    """
    if c_in < 1 or c_out < 1 or stride not in (1, 2):
        raise SupernetError(
            f"operation {name!r}: c_in={c_in}, c_out={c_out}, stride={stride}: channels must be >= 1, stride 1 or 2"
        )
    return OPERATIONS[name](c_in, c_out, stride, affine)
