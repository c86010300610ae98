"""Softmax at a temperature that changes over the epochs (ASAP; Noy et al., arXiv:1904.04123, section 3.1).

p[e, o] = exp(alpha[e, o] / T) / sum_o' exp(alpha[e, o'] / T)

T near 0 makes a row one-hot without any change of its alphas. In epoch e of E, with s = e / (E - 1):

    line          T = tau + (tau_end - tau) s
    exponential   T = tau (tau_end / tau)^s
"""
# E edges, O operations

from typing import get_args

import torch
from torch import Tensor

from ...errors import SupernetError, unknown
from ...network import Supernet
from ...space import Table
from ..part import Clock
from ..parts import RELAXATIONS, Relaxation
from ..ramp import Ramp, ramp

__all__ = ["Temperature"]


@RELAXATIONS.register("temperature")
class Temperature(Relaxation):
    """`tau` in the first and `tau_end` in the last epoch are above 0."""

    tau: Tensor
    traits = frozenset({"logits"})

    def __init__(self, tau: float = 1.0, tau_end: float = 0.1, form: str = "exponential") -> None:
        super().__init__()
        for name, value in (("tau", tau), ("tau_end", tau_end)):
            if not value > 0:
                raise SupernetError(f"relaxation temperature: {name}={value} must be above 0")
        if form not in get_args(Ramp):
            raise SupernetError(unknown("form of relaxation temperature", form, get_args(Ramp)))
        self.first, self.last, self.form = float(tau), float(tau_end), form
        self.register_buffer("tau", torch.tensor(self.first), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.tau.fill_(ramp(self.first, self.last, clock, self.form))

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] whose rows sum to 1, of alphas [E, O]."""
        return torch.softmax(alpha_EO / self.tau.to(alpha_EO.dtype), dim=-1)
