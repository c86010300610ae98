"""A draw from a Dirichlet distribution over the operations of a row (DrNAS; Chen et al., arXiv:2006.10355, section 3).

c = elu(alpha) + 1,   p ~ Dir(c),   the gradient by alpha through the draw (Figurnov et al., arXiv:1805.08498)

Drawn as gamma numbers divided by their sum: x_o ~ Gamma(c_o), p = x / sum x. x comes from counted numbers by the method
of Marsaglia and Tsang (https://doi.org/10.1145/358407.358414) for Gamma(c + 1), times U^(1/c). It takes the first of
ATTEMPTS tries that is accepted; dx/dc is torch's implicit derivative. A row without some options draws as one that
never had them: what is left of a Dirichlet draw, divided by its sum, is Dirichlet again.

The strength of an operation is the softmax of the alphas, whose order in a row is that of c (the authors' code).
"""
# E edges, O operations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from ..parts import SAMPLERS, Sampler

__all__ = ["Dirichlet"]

# A try fails with a probability below .049 for c + 1 >= 1: all eight together with 3e-11.
ATTEMPTS = 8


@SAMPLERS.register("dirichlet")
class Dirichlet(Sampler):
    """All operations run, weighed by a draw that spreads as much as the alphas are undecided."""

    traits = frozenset({"random draws"})
    numbers = 1 + 2 * ATTEMPTS

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of uniform numbers, and normal numbers, of uniform ones, all [E, O, N]: (log U, log V's, Z's)."""
        u = np.maximum(uniform_EO, np.finfo(np.float64).tiny)
        return np.concatenate([np.log(u[..., : 1 + ATTEMPTS]), ndtri(u[..., 1 + ATTEMPTS :])], axis=-1)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(draw [E, O] whose rows sum to 1, None) of alphas [E, O] that are -inf where a row lacks the option.

        `noise_EO` is [E, O, N].
        """
        exists = torch.isfinite(alpha_EO)
        c = F.elu(alpha_EO.masked_fill(~exists, 0.0)) + 1
        x = gamma(c, noise_EO) * exists
        return x / x.sum(-1, keepdim=True), None


def gamma(c: Tensor, noise: Tensor) -> Tensor:
    """Gamma(c) numbers [E, O] of noise [E, O, N] as `Dirichlet.draw` makes it, differentiable by c [E, O]."""
    with torch.no_grad():
        log_u, log_v, z = noise.split([1, ATTEMPTS, ATTEMPTS], dim=-1)
        d = c[..., None] + 2 / 3  # c + 1 - 1/3
        v = (1 + z / (9 * d).sqrt()) ** 3
        accepted = (v > 0) & (log_v < z**2 / 2 + d * (1 - v + v.clamp_min(1e-30).log()))
        first = accepted.to(torch.uint8).argmax(dim=-1, keepdim=True)
        log_x = (d * v.gather(-1, first).clamp_min(1e-30)).log() + log_u / c[..., None]
        # As torch does: a number that rounds to 0 would leave rows without any weight.
        x = log_x[..., 0].exp().clamp_min(torch.finfo(c.dtype).tiny)
        slope = torch._standard_gamma_grad(c, x)
    return x + slope * (c - c.detach())
