"""Two paths, one of them active (ProxylessNAS; Cai, Zhu and Han, arXiv:1812.00332, section 3.2.1).

weights' half    one operation, drawn from p, runs
alphas' half     a pair is drawn from p without replacement, q = softmax of their alphas, b = one-hot of a draw from q
                 output = sum over the pair of b_j o_j
                 dL/da_i = sum over the pair of dL/db_j q_j (delta_ij - q_i)

Memory is that of two paths, whatever the number of candidates. The alphas that were not drawn have no gradient, and
`alpha_optimiser=rescaled_adam` keeps their weights. The authors' code has this mode as `two`; its default is one that
runs all paths. A row with one operation left has no pair: that one runs.
"""
# E edges, O operations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..parts import SAMPLERS, Sampler
from .gumbel import gumbel
from .logarithm import log_weights

__all__ = ["TwoPaths"]


@SAMPLERS.register("two_paths")
class TwoPaths(Sampler):
    """Draws by the largest of log p and Gumbel numbers: the first two are a draw without replacement."""

    traits = frozenset({"one path", "random draws"})
    numbers = 2

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        return gumbel(uniform_EO)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(weights [E, O] of 0 and 1, the gate [E, O] of one operation a row, or of two); `noise_EO` is [E, O, 2]."""
        log_p = log_weights(p_EO)
        keys = log_p.detach() + noise_EO[..., 0]
        if self.for_half == "weights":
            one = _marked(keys, 1)
            return one.to(p_EO.dtype), one
        pair = _marked(keys, min(2, keys.shape[-1])) & (p_EO > 0)
        log_q = log_p.masked_fill(~pair, float("-inf"))
        active = _marked(log_q.detach() + noise_EO[..., 1], 1)
        q = torch.softmax(log_q, dim=-1)
        return active + (q - q.detach()), pair


def _marked(keys: Tensor, most: int) -> Tensor:
    """True at the `most` largest keys of each row of [E, O]."""
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(-1, keys.topk(most, dim=-1).indices, True)
