"""Several hard draws at once, merged by their maximum (DATA; Chang et al., arXiv:1905.01786, section 3.2).

h_m = one-hot(argmax y_m),  y_m = softmax((log p + G_m) / tau),  m = 1 .. M        with the gradient of y_m
s_o = max_m h_m[o],   weight_o = s_o / sum s

A row runs up to M different operations, so that the network in the search is nearer to one that keeps several of them;
P(o runs) = 1 - (1 - p_o)^M. What runs has a gradient, the rest has none and costs nothing; where all draws of a row
agree, its one weight is 1 whatever the alphas, and has none either.

The authors discretise to the most probable set of operations; where a space has one a row it is the strongest. Their
tau was meant to fall from 5, but the forward is called without the epoch, and it stays 1.
"""
# E edges, O operations, M draws

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ..part import Clock
from ..parts import SAMPLERS, Sampler
from ..ramp import line
from .gumbel import gumbel
from .logarithm import log_weights

__all__ = ["MaxOfDraws"]


@SAMPLERS.register("max_of_draws")
class MaxOfDraws(Sampler):
    """`draws` is M, 2 or more, since a row that runs one operation alone has no gradient.

    `tau` and `tau_end` (None: the same) are above 0.
    """

    tau: Tensor
    traits = frozenset({"random draws", "one path"})

    def __init__(self, draws: int = 2, tau: float = 1.0, tau_end: float | None = None) -> None:
        super().__init__()
        if draws < 2:
            raise SupernetError(f"sampler max_of_draws: draws={draws} must be 2 or more")
        self.first, self.last = float(tau), float(tau if tau_end is None else tau_end)
        for name, value in (("tau", self.first), ("tau_end", self.last)):
            if not value > 0:
                raise SupernetError(f"sampler max_of_draws: {name}={value} must be above 0")
        self.numbers = draws
        self.register_buffer("tau", torch.tensor(self.first), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.tau.fill_(line(self.first, self.last, clock))

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        return gumbel(uniform_EO)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(weights [E, O] whose rows sum to 1, the gate [E, O] of those above 0); `noise_EO` is [E, O, M]."""
        y_EOM = torch.softmax((log_weights(p_EO)[..., None] + noise_EO) / self.tau.to(p_EO.dtype), dim=1)
        first = y_EOM.argmax(dim=1, keepdim=True)
        hard_EOM = torch.zeros_like(y_EOM).scatter_(1, first, 1.0)
        merged_EO = (hard_EOM + (y_EOM - y_EOM.detach())).amax(dim=-1)
        gate = hard_EOM.amax(dim=-1) > 0
        runs_EO = merged_EO * gate
        return runs_EO / runs_EO.sum(-1, keepdim=True), gate
