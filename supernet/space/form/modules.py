"""How parts of a written network stand together, and its layers by name."""
# B batch, N tokens, C channels, H height, W width

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..layers import Activation, Attention, Conv2d, Linear, Norm, Resize

__all__ = ["LAYERS", "POOLS", "TEXTS", "Chain", "Gate", "Parallel", "Residual", "Tokens"]

# Layers whose arguments may be choices, under the names of their arguments in Python.
LAYERS: Mapping[str, Callable[..., nn.Module]] = {
    "activation": Activation,
    "attention": Attention,
    "conv": Conv2d,
    "linear": Linear,
    "norm": Norm,
    "resize": Resize,
}
TEXTS = ("init", "kind", "sharing")  # arguments that take a text; in all others a text is the name of a value


class Chain(nn.Module):
    """Parts one behind the other, each under its name; `values` are choices that this module names.

    With `residual` the input is added to the output.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], values: Mapping[str, nn.Module] | None = None, residual: bool = False
    ) -> None:
        super().__init__()
        for name, value in (values or {}).items():
            self.add_module(name, value)
        for name, part in parts.items():
            self.add_module(name, part)
        self.parts, self.residual = tuple(parts), residual

    def forward(self, x: Tensor) -> Tensor:
        """`x` [...] as the first part takes it to what the last gives; with `residual` both have one shape."""
        y = x
        for name in self.parts:
            y = getattr(self, name)(y)
        return x + y if self.residual else y


class Residual(nn.Module):
    """shortcut(x) + body(x); the shortcut is the identity unless given."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to [B, C', ...], the shape that shortcut and body both give."""
        return (x if self.shortcut is None else self.shortcut(x)) + self.body(x)


class Parallel(nn.Module):
    """All branches on one input, each under its name; their outputs are added, or joined along the channels."""

    def __init__(self, branches: Mapping[str, nn.Module], join: str) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.branches, self.join = tuple(branches), join

    def extra_repr(self) -> str:
        return self.join

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to [B, C', ...], where "concat" adds up the channels of the branches."""
        outputs = [getattr(self, name)(x) for name in self.branches]
        return torch.cat(outputs, dim=1) if self.join == "concat" else sum(outputs[1:], outputs[0])


class Gate(nn.Module):
    """x * gate(mean of x over the image), as squeeze-and-excite does (arXiv:1709.01507)."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        return x * self.gate(x.mean(dim=(2, 3), keepdim=True))


class Tokens(nn.Module):
    """[B, C, H, W] to tokens [B, H W, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, H W, C]."""
        return x.flatten(2).transpose(1, 2)


class _GlobalPool(nn.Module):
    """The mean over an image [B, C, H, W], or over tokens [B, N, C]: [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or [B, N, C] to [B, C]."""
        return x.mean(dim=(2, 3)) if x.dim() == 4 else x.mean(dim=1)


def _max(kernel_size: int, stride: int) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride, padding=kernel_size // 2)


def _avg(kernel_size: int, stride: int) -> nn.Module:
    return nn.AvgPool2d(kernel_size, stride, padding=kernel_size // 2, count_include_pad=False)


def _global(kernel_size: int, stride: int) -> nn.Module:
    return _GlobalPool()


POOLS: Mapping[str, Callable[[int, int], nn.Module]] = {"avg": _avg, "global": _global, "max": _max}
