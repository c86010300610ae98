"""ReinMax: a hard draw with a gradient of second order (Liu, Dong, Liu, Yu and Gao, arXiv:2304.08612, section 4).

D ~ Cat(p),   the network runs with D,   J(q) = diag(q) - q q^T,   g = dL/dD
dL/dtheta = 2 J((softmax(theta / tau) + D) / 2) g - J(p) g / 2,     theta = log p

In expectation it is the exact gradient where L is quadratic in D; the straight-through estimate J(p) g is not. It is
undefined below tau = 1, where the authors' code raises an error. g has an entry for each operation, drawn or not: so in
the alphas' half all of them run, and only the drawn one enters the sum. In the weights' half the drawn one alone runs.

The paper is about discrete variables in general; for architectures this is an estimator in the place of GDAS's, and no
figure of it is published.
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
from .gumbel import gumbel
from .logarithm import log_weights

__all__ = ["ReinMax"]


@SAMPLERS.register("reinmax")
class ReinMax(Sampler):
    """`tau` and `tau_end` (None: the same) are 1 or more; tau runs in a straight line over the epochs."""

    tau: Tensor
    traits = frozenset({"one path", "random draws"})

    def __init__(self, tau: float = 1.0, tau_end: float | None = None) -> None:
        super().__init__()
        self.first, self.last = float(tau), float(tau if tau_end is None else tau_end)
        for name, value in (("tau", self.first), ("tau_end", self.last)):
            if not value >= 1:
                raise SupernetError(
                    f"sampler reinmax: {name}={value} must be 1 or more: the estimate is undefined below; "
                    "method.sampler={name: gumbel, hard: true} takes any"
                )
        self.register_buffer("tau", torch.tensor(self.first), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.tau.fill_(line(self.first, self.last, clock))

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        return gumbel(uniform_EO)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(draw [E, O] of 0 and 1, None); in the weights' half the gate [E, O] of what was drawn in place of None."""
        theta = log_weights(p_EO)
        gate = torch.zeros_like(p_EO, dtype=torch.bool)
        gate = gate.scatter_(-1, (theta + noise_EO).argmax(dim=-1, keepdim=True), True)
        drawn = gate.to(p_EO.dtype)
        if self.for_half == "weights":
            return drawn, gate
        middle = (torch.softmax(theta / self.tau.to(theta.dtype), dim=-1) + drawn) / 2
        there = theta.masked_fill(torch.isinf(theta), 0.0)
        slope = 2 * _with_jacobian(middle, there) - _with_jacobian(p_EO, there) / 2
        return drawn + (slope - slope.detach()), None


def _with_jacobian(q: Tensor, theta: Tensor) -> Tensor:
    """A function of theta [E, O] whose Jacobian, row by row, is diag(q) - q q^T for weights q [E, O]."""
    q = q.detach()
    return q * (theta - (q * theta).sum(-1, keepdim=True))
