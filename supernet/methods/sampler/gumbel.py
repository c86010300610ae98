"""Gumbel softmax over the operations of each row (Jang et al., arXiv:1611.01144; Maddison et al., arXiv:1611.00712).

G = -log(-log U),   y = softmax((log p + G) / tau)                  soft: SNAS (arXiv:1812.09926)
hard: one operation a row runs, k = argmax y, with the weight 1 and the gradient of y_k alone       (GDAS,
arXiv:1910.04465; the later form of the authors' code, whose operations that do not run get no gradient)

tau goes from `tau` to `tau_end` in a straight line over the epochs, tau + (tau_end - tau) e / (T - 1), or is multiplied
by `decay` each epoch (FBNet, arXiv:1812.03443).
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
from ..ramp import line
from .logarithm import log_weights

__all__ = ["Gumbel", "gumbel"]

LEAST = np.finfo(np.float64).tiny


def gumbel(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gumbel numbers of uniform ones in [0, 1), of any shape."""
    return -np.log(-np.log(np.maximum(uniform, LEAST)))


@SAMPLERS.register("gumbel")
class Gumbel(Sampler):
    """`tau` and `tau_end` (None: the same) are above 0; `hard` runs one operation a row.

    `decay` in (0, 1], in place of `tau_end`, is the factor of each epoch.
    """

    tau: Tensor

    def __init__(
        self, tau: float = 1.0, tau_end: float | None = None, hard: bool = False, decay: float | None = None
    ) -> None:
        super().__init__()
        self.first, self.last = float(tau), float(tau if tau_end is None else tau_end)
        for name, value in (("tau", self.first), ("tau_end", self.last)):
            if not value > 0:
                raise SupernetError(f"sampler gumbel: {name}={value} must be above 0")
        if decay is not None and (tau_end is not None or not 0 < decay <= 1):
            raise SupernetError(f"sampler gumbel: decay={decay} must lie in (0, 1], and takes the place of tau_end")
        self.hard, self.decay = hard, decay
        self.traits = frozenset({"random draws"} | ({"one path"} if hard else set()))
        self.register_buffer("tau", torch.tensor(self.first), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        if self.decay is not None:
            self.tau.fill_(self.first * self.decay**clock.epoch)
        else:
            self.tau.fill_(line(self.first, self.last, clock))

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        return gumbel(uniform_EO)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(y [E, O], None), or hard (weights [E, O] of 0 and 1, their gate [E, O]); an option with p = 0 has none."""
        y = torch.softmax((log_weights(p_EO) + noise_EO) / self.tau, dim=-1)
        if not self.hard:
            return y, None
        gate = torch.zeros_like(y, dtype=torch.bool).scatter_(-1, y.argmax(dim=-1, keepdim=True), True)
        return gate * (1 + (y - y.detach())), gate
