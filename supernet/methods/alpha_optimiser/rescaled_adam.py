"""Adam on the alphas of sampled paths, which leaves the weights of the others as they were (ProxylessNAS; Cai, Zhu and
Han, arXiv:1812.00332, section 3.2.1).

a_i  <-  Adam(a_i, g_i),   a_i  <-  a_i - log(sum_j exp a_j / sum_j exp a_j^old)        i, j of a row: those that moved

Two paths of a row have a gradient; the step moves their two alphas, and the softmax would move the weight of every
other path with them. Behind the shift the sum of their exponentials is what it was, and so are all other weights. What
has not moved is known by its bits: beta1 and weight decay must be 0, else Adam moves what has no gradient.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...config import AlphaConfig, SearchConfig
from ...errors import SupernetError
from ..optimizers import adam
from ..parts import ALPHA_OPTIMISERS, AlphaOptimiser

__all__ = ["RescaledAdam"]


@ALPHA_OPTIMISERS.register("rescaled_adam")
class RescaledAdam(AlphaOptimiser):
    """Rate and beta2 are the settings `alphas`; `alphas.beta1` and `alphas.weight_decay` must be 0."""

    traits = frozenset({"steps off the simplex"})

    def __init__(self) -> None:
        super().__init__()
        self._before: list[Tensor] = []

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """Raises SupernetError for settings by which Adam moves alphas without a gradient."""
        for name in ("beta1", "weight_decay"):
            if getattr(config.alphas, name):
                raise SupernetError(
                    f"method.alpha_optimiser=rescaled_adam keeps the paths that were not drawn, and "
                    f"alphas.{name}={getattr(config.alphas, name)} would move them; set alphas.{name}=0"
                )
        return ()

    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        """Adam over the alphas, each [E, O]."""
        return adam(alphas, config)

    @torch.no_grad()
    def before_step(self, alphas: Sequence[Tensor]) -> None:
        """Keeps the alphas, each [E, O], of before the step."""
        self._before = [alpha.clone() for alpha in alphas]

    @torch.no_grad()
    def after_step(self, alphas: Sequence[Tensor]) -> None:
        """Shifts what has moved in each row of the alphas, each [E, O], in place."""
        for alpha, before in zip(alphas, self._before, strict=True):
            moved = alpha != before
            ratio = _log_sum(alpha, moved) - _log_sum(before, moved)
            alpha.copy_(torch.where(moved, alpha - ratio, alpha))
        self._before = []


def _log_sum(alpha: Tensor, where: Tensor) -> Tensor:
    """log of the sum of exponentials [..., 1] of what is marked in the last axis of [..., O]."""
    return alpha.masked_fill(~where, float("-inf")).logsumexp(-1, keepdim=True)
