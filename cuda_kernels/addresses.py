"""Tensors and numbers as arguments of compiled code: addresses, tables of addresses, small arrays."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from _ctypes import _CData

__all__ = ["Addresses", "Argument", "Ints", "ints", "pointer", "table"]

Addresses: TypeAlias = "ctypes.Array[ctypes.c_void_p]"
Argument: TypeAlias = "_CData"  # of compiled code
Ints: TypeAlias = "ctypes.Array[ctypes.c_int]"


def pointer(x: Tensor | None) -> ctypes.c_void_p:
    """The address of a tensor of any shape; null where there is none."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def table(tensors: Sequence[Tensor]) -> Addresses:
    """The addresses of tensors of any shape. A kernel takes it by value: a struct of one array of pointers."""
    return (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))


def ints(values: Sequence[int]) -> Ints:
    """Numbers as an array of C's int."""
    return (ctypes.c_int * len(values))(*values)
