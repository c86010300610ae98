"""Activation that may be undecided: sum_i p_i f_i(x)."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SupernetError, unknown
from ..value import Arg
from .elastic import Elastic, Setting

__all__ = ["ACTIVATIONS", "Activation", "HardSigmoid"]


class HardSigmoid(nn.Module):
    """relu6(x + 3) / 6; torch's own cannot be differentiated twice, as exact second-order methods do."""

    def forward(self, x: Tensor) -> Tensor:
        """[...] to [...]."""
        return F.relu6(x + 3) / 6


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": HardSigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


class Activation(Elastic):
    """One of `ACTIVATIONS` by name, or a choice of names; [...] to [...]."""

    def __init__(self, kind: Arg = "relu") -> None:
        super().__init__(kind=kind)
        for setting in self.settings:
            if not isinstance(setting["kind"], str) or setting["kind"] not in ACTIVATIONS:
                raise SupernetError(unknown("activation", setting["kind"], ACTIVATIONS))

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """[...] to [...]."""
        return ACTIVATIONS[setting["kind"]]()(x)

    def stock(self, setting: Setting) -> nn.Module:
        return ACTIVATIONS[setting["kind"]]()
