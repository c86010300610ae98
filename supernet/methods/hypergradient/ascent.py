"""Alphas learn at the sharpest point near them (A2M, Architecture-Aware Minimization; arXiv:2503.10404).

a~     = a + rho grad_a L_val(w, a),   g~ = grad_a L_val(w, a~)
result = (I + rho H) g~,               H = d^2 L_val / da^2 at a
H g~   = [grad_a L_val(w, a + h g~) - grad_a L_val(w, a - h g~)] / 2h,   h = r / |g~|

The gradient of L_val(w, a~(a)): of two minima it prefers the flat one, whose loss rises less within rho. It is first
order in the weights. The authors' code takes H at a~, where the gradient of the written objective has it at a, as here;
rho is .01 in it on NAS-Bench-201 and .1 on DARTS' space. Costs four passes of the validation batch.
"""

import torch

from ...errors import SupernetError
from ...network.freezing import frozen
from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem, moved
from ..response import norm_of

__all__ = ["Ascent"]


@HYPERGRADIENTS.register("ascent")
class Ascent(Hypergradient):
    """`rho`, 0 or more, is the step of ascent; `r`, above 0, the length of the difference. rho 0 is first order."""

    repeats = True
    traits = frozenset({"learns alphas", "second derivatives"})

    def __init__(self, rho: float = 0.1, r: float = 1e-2) -> None:
        super().__init__()
        if rho < 0:
            raise SupernetError(f"ascent: rho={rho} must be 0 or more")
        if r <= 0:
            raise SupernetError(f"ascent: r={r} must be above 0")
        self.rho, self.r = float(rho), float(r)

    def forward(self, problem: Problem) -> Estimate:
        with frozen(problem.weights):
            loss = problem.loss("val")
            here = problem.gradient(loss, problem.alphas)
            above = self._beside(problem, here, self.rho)
            norm = norm_of(above)
            h = self.r / norm.clamp_min(torch.finfo(norm.dtype).tiny)
            plus, minus = (self._beside(problem, above, sign * h) for sign in (1, -1))
        bent = [self.rho * (one - other) / (2 * h) for one, other in zip(plus, minus, strict=True)]
        return Estimate(list(torch._foreach_add(above, bent)), None, loss.detach())

    def _beside(self, problem: Problem, along: list[torch.Tensor], far: float | torch.Tensor) -> list[torch.Tensor]:
        """The gradient by the alphas, in their shapes, at a + far * along."""
        with torch.no_grad():
            alphas = [a + far * d for a, d in zip(problem.alphas, along, strict=True)]
        with moved(problem.alphas, alphas):
            return problem.gradient(problem.loss("val"), problem.alphas)
