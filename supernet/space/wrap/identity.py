"""Alternatives without weights: the input itself, and zeros, which take a module or a residual branch out."""

from torch import Tensor, nn

__all__ = ["First", "Zeros", "identity", "without"]


class First(nn.Module):
    """The first input as it is, whatever else is handed over.

    A copy of it: the layer that follows may work in place, and the input may be a shortcut that is read again.
    """

    def forward(self, x: Tensor, *others: object, **named: object) -> Tensor:
        """`x` [...] to [...]."""
        return x.clone()


class Zeros(nn.Module):
    """Zeros of the first input's shape."""

    def forward(self, x: Tensor, *others: object, **named: object) -> Tensor:
        """`x` [...] to [...]."""
        return x.new_zeros(x.shape)


def identity(original: nn.Module) -> nn.Module:
    """Gives the first input back: the module is left out. For modules whose output has the shape of their input."""
    return First()


def without(original: nn.Module) -> nn.Module:
    """Gives zeros: a residual branch adds nothing. For modules whose output has the shape of their input."""
    return Zeros()
