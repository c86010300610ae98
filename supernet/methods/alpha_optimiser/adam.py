"""Adam on the alphas (DARTS, arXiv:1806.09055, section 3; Kingma and Ba, arXiv:1412.6980)."""

from collections.abc import Sequence

import torch
from torch import nn

from ...config import AlphaConfig
from ..optimizers import adam
from ..parts import ALPHA_OPTIMISERS, AlphaOptimiser

__all__ = ["Adam"]


@ALPHA_OPTIMISERS.register("adam")
class Adam(AlphaOptimiser):
    """Its rate, weight decay and betas are the settings `alphas`."""

    traits = frozenset({"steps off the simplex"})

    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        """Adam over the alphas, each [E, O], whose count of steps is on their device."""
        return adam(alphas, config)
