"""Undecided resolution: the image is resized, bilinear and antialiased, before the network reads it.

In a mixture each resolution's image comes back to the largest that runs, so that all have one shape: what a smaller
resolution loses is lost, and the network runs once. One path runs at its own resolution.
"""
# B batch, C channels, H height, W width

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..value import Arg
from .elastic import Elastic, Running, Setting

__all__ = ["Resize"]


class ResizeTo(nn.Module):
    """[B, C, H, W] to [B, C, size, size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def extra_repr(self) -> str:
        return str(self.size)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, size, size]."""
        return resized(x, self.size)


class Resize(Elastic):
    """[B, C, H, W] to [B, C, size, size], where `size` may be a choice."""

    def __init__(self, size: Arg) -> None:
        super().__init__(size=size)
        self.require_whole("size", most=65536)

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """[B, C, H, W] to [B, C, size, size]."""
        return resized(x, setting["size"])

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """[B, C, H, W] to [B, C, S, S], where S is the largest size that runs."""
        largest = max(r.values["size"] for r in running)
        return self.total([r.weigh(resized(self.one(x, r.values), largest)) for r in running])

    def stock(self, setting: Setting) -> nn.Module:
        return ResizeTo(setting["size"])


def resized(x: Tensor, size: int) -> Tensor:
    """[B, C, H, W] to [B, C, size, size]: bilinear, antialiased when it shrinks."""
    if x.shape[-2:] == (size, size):
        return x
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x  # not there in half precision on a processor
    return F.interpolate(wide, (size, size), mode="bilinear", antialias=True).to(x.dtype)
