"""Adam, whose alphas stay in bounds (NASP; Yao et al., arXiv:1905.13577, algorithm 2).

a  <-  clip(Adam(a, g), low, high)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...config import AlphaConfig
from ...errors import SupernetError
from ..optimizers import adam
from ..parts import ALPHA_OPTIMISERS, AlphaOptimiser

__all__ = ["ClippedAdam"]


@ALPHA_OPTIMISERS.register("clipped_adam")
class ClippedAdam(AlphaOptimiser):
    """Alphas in `low` to `high`; rate, weight decay and betas are the settings `alphas`."""

    traits = frozenset({"steps off the simplex"})

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not low < high:
            raise SupernetError(f"clipped_adam: low={low} must be below high={high}")
        self.low, self.high = low, high

    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        """Adam over the alphas, each [E, O]."""
        return adam(alphas, config)

    @torch.no_grad()
    def after_step(self, alphas: Sequence[Tensor]) -> None:
        """Clips the alphas, each [E, O], in place."""
        for alpha in alphas:
            alpha.clamp_(self.low, self.high)
