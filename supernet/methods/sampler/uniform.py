"""One path, drawn uniformly: each row runs one of its operations (SPOS; Guo et al., arXiv:1904.00420, section 3.2).

k ~ U{options of the row},   p[e, o] = 1 where o = k, else 0

The supernet is trained without alphas; the architecture is searched on the weights afterwards. Every half of every step
has a path of its own, one for all cells of a table.
"""
# E edges, O operations

import torch
from torch import Tensor

from ..parts import SAMPLERS, Sampler

__all__ = ["Uniform"]


@SAMPLERS.register("uniform")
class Uniform(Sampler):
    """A path that knows nothing of the alphas."""

    traits = frozenset({"one path", "random draws", "draws without alphas"})

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(weights [E, O] of 0 and 1, their gate [E, O]); alphas [E, O] are -inf where a row lacks the option."""
        keys = noise_EO.masked_fill(~torch.isfinite(alpha_EO), -1.0)  # the largest of uniform keys is uniform
        gate = torch.zeros_like(p_EO, dtype=torch.bool).scatter_(-1, keys.argmax(dim=-1, keepdim=True), True)
        return gate.to(p_EO.dtype), gate
