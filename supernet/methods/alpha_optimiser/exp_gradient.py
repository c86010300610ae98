"""Exponentiated gradient on the simplex (GAEA; Li, Khodak, Balcan and Talwalkar, arXiv:2004.07802, section 3).

p  <-  p exp(-eta g),   p  <-  max(p, 1e-5),   p  <-  p / sum p        each row, eta = alphas.lr

It is mirror descent with the negative entropy, and does not see a constant that is added to the gradient of a row. The
authors keep weights above 1e-5, so that none is lost for good; eta = .1 in their script. They step the weights of edges
likewise, which is left out here: edge_normalisation has logits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...config import AlphaConfig, SearchConfig
from ...errors import SupernetError
from ..parts import ALPHA_OPTIMISERS, AlphaOptimiser

__all__ = ["ExpGradient", "ExponentiatedGradient"]

LEAST = 1e-5  # smallest weight, the authors' code


class ExponentiatedGradient(torch.optim.Optimizer):
    """For parameters whose rows are distributions; heeds `found_inf` on the device, as torch's fused optimisers do."""

    found_inf: Tensor

    def __init__(self, parameters: Sequence[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "fused": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # there is no loss to evaluate anew
        """One step of each parameter [..., O] that has a gradient; where `found_inf` is set, none."""
        skip: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                new = (p * torch.exp(-group["lr"] * p.grad)).clamp_min_(LEAST)
                new /= new.sum(-1, keepdim=True)
                p.copy_(new if skip is None else torch.where(skip > 0, p, new))


@ALPHA_OPTIMISERS.register("exp_gradient")
class ExpGradient(AlphaOptimiser):
    """Its rate is `alphas.lr`; `alphas.weight_decay` must be 0."""

    traits = frozenset({"steps on the simplex"})

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """Raises SupernetError where there is weight decay."""
        if config.alphas.weight_decay:
            raise SupernetError(
                f"method.alpha_optimiser=exp_gradient keeps each row a distribution, and "
                f"alphas.weight_decay={config.alphas.weight_decay} would not; set alphas.weight_decay=0"
            )
        return ()

    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        """The optimiser of alphas [E, O] whose rows sum to 1."""
        return ExponentiatedGradient(alphas, config.lr)
