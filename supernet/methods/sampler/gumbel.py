"""Gumbel softmax over the operations of each row (Jang et al., arXiv:1611.01144; Maddison et al., arXiv:1611.00712).

G = -log(-log U),   y = softmax((log p + G) / tau)                  soft: SNAS (arXiv:1812.09926)
hard: one operation a row runs, k = argmax y, with the weight 1 and the gradient of y_k alone       (GDAS,
arXiv:1910.04465; the later form of the authors' code, whose operations that do not run get no gradient)

tau goes from `tau` to `tau_end` in a straight line over the epochs: tau + (tau_end - tau) e / (T - 1).
"""
# E edges, O operations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ..part import Clock
from ..parts import SAMPLERS, Sampler

__all__ = ["Gumbel"]

LEAST = np.finfo(np.float64).tiny


@SAMPLERS.register("gumbel")
class Gumbel(Sampler):
    """`tau` and `tau_end` (None: the same) are above 0; `hard` runs one operation a row."""

    tau: Tensor

    def __init__(self, tau: float = 1.0, tau_end: float | None = None, hard: bool = False) -> None:
        super().__init__()
        self.first, self.last = float(tau), float(tau if tau_end is None else tau_end)
        for name, value in (("tau", self.first), ("tau_end", self.last)):
            if not value > 0:
                raise SupernetError(f"sampler gumbel: {name}={value} must be above 0")
        self.hard = hard
        self.traits = frozenset({"random draws"} | ({"one path"} if hard else set()))
        self.register_buffer("tau", torch.tensor(self.first), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        share = clock.epoch / max(clock.epochs - 1, 1)
        self.tau.fill_(self.first + (self.last - self.first) * share)

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log(-np.log(np.maximum(uniform_EO, LEAST)))

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(y [E, O], None), or hard (weights [E, O] of 0 and 1, their gate [E, O]); an option with p = 0 has none."""
        y = torch.softmax((torch.log(p_EO) + noise_EO) / self.tau, dim=-1)
        if not self.hard:
            return y, None
        gate = torch.zeros_like(y, dtype=torch.bool).scatter_(-1, y.argmax(dim=-1, keepdim=True), True)
        return gate * (1 + (y - y.detach())), gate
