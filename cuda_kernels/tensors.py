"""Memory order, sizes and checks of the tensors that all operators take."""
# B batch, C channels, H height, W width, n branches or terms

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import SupernetError

__all__ = [
    "STORAGE",
    "accumulator",
    "channels_last",
    "check_activations",
    "check_gate",
    "check_small",
    "contiguous",
    "packed",
    "pixels",
    "room",
    "runs",
    "stacked",
]

STORAGE = {torch.float32: "float", torch.bfloat16: "bf16"}  # of activations: the type and its name in the kernels


def accumulator(x: Tensor) -> torch.dtype:
    """The type of weights, factors and sums beside activations `x` of any shape: float32, for float64 float64."""
    return torch.promote_types(x.dtype, torch.float32)


def channels_last(x: Tensor) -> Tensor:
    """`x` [B, C, H, W] in the memory order B, H, W, C, copied where it is not.

    A tensor with sizes of 1 may say that it is contiguous with any strides; kernels go by the memory order alone.
    """
    return x.contiguous(memory_format=torch.channels_last)


def packed(z: Tensor) -> Tensor:
    """[n, B, C, H, W] in the memory order n, B, H, W, C, copied where it is not."""
    return z.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def contiguous(x: Tensor | None) -> Tensor | None:
    """`x` of any shape, copied where it is not contiguous; None stays."""
    return None if x is None else x.contiguous()


def stacked(like: Tensor, n: int, height: int, width: int) -> Tensor:
    """Room [n, B, C, height, width], each of the n channels-last; `like` is [B, C, ...]."""
    b, c = like.shape[:2]
    return like.new_empty((n, b, height, width, c)).permute(0, 1, 4, 2, 3)


def room(x: Tensor, n: int, stride: int) -> Tensor:
    """Room [n, B, C, H', W'], each channels-last, for n outputs of `x` [B, C, H, W]; H' = ceil(H / stride)."""
    height, width = (-(-size // stride) for size in x.shape[-2:])
    return stacked(x, n, height, width)


def pixels(x: Tensor) -> int:
    """B * H * W of [B, C, H, W]."""
    return x.shape[0] * x.shape[2] * x.shape[3]


def runs(gate: Tensor | None, n: int) -> list[bool]:
    """Which of n branches run under `gate` [n]; reads it, which the host waits for on a device."""
    return [True] * n if gate is None else (gate != 0).tolist()


def check_activations(who: str, named: Sequence[tuple[str, Tensor]]) -> None:
    """Raises SupernetError unless all are [B, C, H, W], alike, and of a type that is served."""
    first = named[0][1]
    served = (*STORAGE, torch.float64) if first.device.type == "cpu" else tuple(STORAGE)
    if first.dim() != 4 or first.dtype not in served or not first.shape[1]:
        actual = f"{first.dtype} of shape {tuple(first.shape)}"
        allowed = f"[B, C, H, W] of {served} on {first.device.type}"
        raise SupernetError(f"{who} takes {named[0][0]} as {allowed}, not {actual}")
    for name, x in named[1:]:
        if x.shape != first.shape or x.dtype != first.dtype or x.device != first.device:
            here, there = (f"{y.dtype} {tuple(y.shape)} on {y.device}" for y in (x, first))
            raise SupernetError(f"{who}: {name} is {here}, but {named[0][0]} {there}; they must be alike")


def check_small(who: str, named: Sequence[tuple[str, Tensor]], shape: Sequence[int], x: Tensor) -> None:
    """Raises SupernetError unless all have `shape`, on the device of `x` [B, C, H, W] and of its `accumulator`."""
    dtype = accumulator(x)
    for name, small in named:
        if tuple(small.shape) != tuple(shape) or small.dtype != dtype or small.device != x.device:
            actual = f"{small.dtype} {tuple(small.shape)} on {small.device}"
            raise SupernetError(f"{who} takes {name} as {dtype} {tuple(shape)} on {x.device}, not {actual}")


def check_gate(who: str, gate: Tensor | None, n: int, x: Tensor) -> None:
    """Raises SupernetError for a gate that is not [n], one number a branch; `x` is [B, C, H, W]."""
    if gate is not None:
        check_small(who, [("gate", gate)], (n,), x)
